package org.autox3d.edge;

import java.nio.ByteBuffer;

/** A picture of a video: uint8 RGB. */
public final class Frame {
  private static final int ONE = 1 << 16; // weights of a new pixel in sum

  final int width;
  final int height;

  private final byte[] values; // red, green and blue of all pixels, and
  private final int start; // where among them the first pixel is,
  private final int rowStep; // how far from it the one below is,
  private final int columnStep; // and the one on its right

  private Frame(byte[] rgb, int width, int height) {
    this(rgb, width, height, 0, 3 * width, 3);
  }

  private Frame(
      byte[] values,
      int width,
      int height,
      int start,
      int rowStep,
      int columnStep) {
    this.values = values;
    this.width = width;
    this.height = height;
    this.start = start;
    this.rowStep = rowStep;
    this.columnStep = columnStep;
  }

  /** A frame of RGB bytes, row by row; they are not copied. */
  public static Frame ofRgb(byte[] rgb, int width, int height) {
    checkThere(rgb, "rgb");
    check(rgb.length == 3L * width * height, width, height, rgb.length);
    return new Frame(rgb, width, height);
  }

  /**
   * A frame of ARGB numbers, row by row, as of Android's
   * {@code bitmap.getPixels(argb, 0, width, 0, 0, width, height)}.
   */
  public static Frame ofArgb(int[] argb, int width, int height) {
    checkThere(argb, "argb");
    check(argb.length == (long) width * height, width, height, argb.length);
    byte[] rgb = new byte[3 * argb.length];
    for (int i = 0; i < argb.length; i++) {
      rgb[3 * i] = (byte) (argb[i] >> 16);
      rgb[3 * i + 1] = (byte) (argb[i] >> 8);
      rgb[3 * i + 2] = (byte) argb[i];
    }
    return new Frame(rgb, width, height);
  }

  /**
   * A frame of RGBA bytes, as CameraX's {@code OUTPUT_IMAGE_FORMAT_RGBA_8888}
   * gives them in {@code image.getPlanes()[0]}.
   *
   * @param rgba Its buffer; read from byte 0, and left as it was.
   * @param rowStride Bytes from one row to the next.
   */
  public static Frame ofRgba(
      ByteBuffer rgba, int width, int height, int rowStride) {
    checkThere(rgba, "rgba");
    long needed = (height - 1L) * rowStride + 4L * width;
    check(
        rowStride >= 4L * width && rgba.limit() >= needed,
        width, height, rgba.limit());
    byte[] values = new byte[(int) needed];
    ByteBuffer source = rgba.duplicate();
    source.rewind();
    source.get(values);
    return new Frame(values, width, height, 0, rowStride, 4);
  }

  /**
   * This frame turned clockwise, as by CameraX's
   * {@code image.getImageInfo().getRotationDegrees()}.
   *
   * @param degrees 0, 90, 180 or 270.
   */
  public Frame rotated(int degrees) {
    if (degrees % 90 != 0 || degrees < 0 || degrees > 270) {
      throw new IllegalArgumentException(
          "`degrees` must be 0, 90, 180 or 270. Received: " + degrees + ".");
    }
    Frame turned = this;
    for (int quarter = 0; quarter < degrees / 90; quarter++) {
      turned = turned.turned();
    }
    return turned;
  }

  /** A quarter turn: no pixel moves, they are read in another order. */
  private Frame turned() {
    int bottomLeft = start + (height - 1) * rowStep;
    return new Frame(values, height, width, bottomLeft, columnStep, -rowStep);
  }

  /** RGB, row by row; maybe those of the frame itself. */
  byte[] rgb() {
    if (start == 0 && columnStep == 3) return values;
    byte[] rgb = new byte[3 * width * height];
    int to = 0;
    for (int row = 0; row < height; row++) {
      for (int column = 0; column < width; column++) {
        int from = start + row * rowStep + column * columnStep;
        for (int i = 0; i < 3; i++) rgb[to++] = values[from + i];
      }
    }
    return rgb;
  }

  /**
   * Scales so that the shorter side is `shortSide`, or with `squash` both, and
   * cuts out the centre square: bilinear, with a wider triangle when shrinking
   * (antialias). Only what the square is made of is scaled. All sums are of
   * whole numbers, so that they are those of Python.
   */
  Frame cut(int shortSide, int cropSize, boolean squash) {
    int newHeight = squash ? shortSide : longer(height, width, shortSide);
    int newWidth = squash ? shortSide : longer(width, height, shortSide);
    Taps[] rows = Taps.middle(height, newHeight, cropSize);
    Taps[] columns = Taps.middle(width, newWidth, cropSize);
    int left = columns[0].first;
    Taps end = columns[cropSize - 1];
    int[] line = new int[3 * (end.first + end.weights.length - left)];
    byte[] cut = new byte[3 * cropSize * cropSize];
    int to = 0;
    for (Taps row : rows) {
      fill(line, start + row.first * rowStep + left * columnStep, row.weights);
      for (Taps column : columns) {
        for (int i = 0; i < 3; i++) {
          long sum = column.sum(line, 3 * (column.first - left) + i);
          cut[to++] = (byte) Math.rint((double) sum / ((long) ONE * ONE));
        }
      }
    }
    return new Frame(cut, cropSize, cropSize);
  }

  private static int longer(int side, int other, int shortSide) {
    if (side <= other) return shortSide;
    double scaled = Math.rint((double) side * shortSide / other);
    return Math.max(shortSide, (int) scaled);
  }

  /** Makes a line of pixels out of those from one on and those below. */
  private void fill(int[] line, int from, int[] weights) {
    for (int to = 0; to < line.length; to += 3, from += columnStep) {
      int red = 0;
      int green = 0;
      int blue = 0;
      int at = from;
      for (int weight : weights) {
        red += (values[at] & 255) * weight;
        green += (values[at + 1] & 255) * weight;
        blue += (values[at + 2] & 255) * weight;
        at += rowStep;
      }
      line[to] = red;
      line[to + 1] = green;
      line[to + 2] = blue;
    }
  }

  /** The first old pixel of a new one, and the weights from there on. */
  private static final class Taps {
    final int first;
    final int[] weights;

    /** In whole numbers, of 1 / (2 * newSize) of an old pixel. */
    Taps(int size, int newSize, int number) {
      long unit = 2L * newSize;
      long reach = 2L * Math.max(size, newSize);
      long centre = (2L * number + 1) * size - newSize;
      first = centre < reach ? 0 : (int) ((centre - reach) / unit) + 1;
      int last = (int) Math.min(size - 1, (centre + reach - 1) / unit);
      weights = new int[last - first + 1];
      long[] sums = new long[weights.length + 1];
      for (int i = 0; i < weights.length; i++) {
        sums[i + 1] = sums[i] + reach - Math.abs(unit * (first + i) - centre);
      }
      long total = sums[weights.length];
      for (int i = 0; i < weights.length; i++) {
        weights[i] =
            (int) (sums[i + 1] * ONE / total - sums[i] * ONE / total);
      }
    }

    /** What the `count` pixels in the middle of a resized axis are. */
    static Taps[] middle(int size, int newSize, int count) {
      Taps[] taps = new Taps[count];
      for (int i = 0; i < count; i++) {
        taps[i] = new Taps(size, newSize, (newSize - count) / 2 + i);
      }
      return taps;
    }

    /** The weighted sum of one colour of a line of pixels. */
    long sum(int[] line, int from) {
      long sum = 0;
      for (int tap = 0; tap < weights.length; tap++) {
        sum += (long) line[from + 3 * tap] * weights[tap];
      }
      return sum;
    }
  }

  /** Refuses null in a line; it would be a NullPointerException later. */
  static void checkThere(Object value, String name) {
    if (value == null) {
      throw new IllegalArgumentException("`" + name + "` must not be null.");
    }
  }

  private static void check(
      boolean fits, int width, int height, int values) {
    if (!fits || width < 1 || height < 1) {
      throw new IllegalArgumentException(
          "A frame must have as many values as its size says. Received: "
              + width + " x " + height + ", " + values + " values.");
    }
  }
}
