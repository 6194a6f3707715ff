package org.autox3d.edge;

import java.nio.ByteBuffer;

/** A picture of a video: uint8 RGB. */
public final class Frame {
  final byte[] rgb; // row by row
  final int width;
  final int height;

  private Frame(byte[] rgb, int width, int height) {
    this.rgb = rgb;
    this.width = width;
    this.height = height;
  }

  /** A frame of RGB bytes, row by row; they are not copied. */
  public static Frame ofRgb(byte[] rgb, int width, int height) {
    check(rgb.length == 3L * width * height, width, height, rgb.length);
    return new Frame(rgb, width, height);
  }

  /**
   * A frame of ARGB numbers, row by row, as of Android's
   * {@code bitmap.getPixels(argb, 0, width, 0, 0, width, height)}.
   */
  public static Frame ofArgb(int[] argb, int width, int height) {
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
    long needed = (height - 1L) * rowStride + 4L * width;
    check(
        rowStride >= 4L * width && rgba.limit() >= needed,
        width, height, rgba.limit());
    byte[] rgb = new byte[3 * width * height];
    for (int row = 0, to = 0; row < height; row++) {
      int from = row * rowStride;
      for (int column = 0; column < width; column++, from += 4) {
        rgb[to++] = rgba.get(from);
        rgb[to++] = rgba.get(from + 1);
        rgb[to++] = rgba.get(from + 2);
      }
    }
    return new Frame(rgb, width, height);
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

  private Frame turned() {
    byte[] result = new byte[rgb.length];
    for (int row = 0; row < height; row++) {
      for (int column = 0; column < width; column++) {
        int from = 3 * (row * width + column);
        int to = 3 * (column * height + height - 1 - row);
        for (int i = 0; i < 3; i++) result[to + i] = rgb[from + i];
      }
    }
    return new Frame(result, height, width);
  }

  /**
   * Scales so that the shorter side is `shortSide`, or with `squash` both:
   * bilinear, with a wider triangle when shrinking (antialias).
   */
  Frame resized(int shortSide, boolean squash) {
    int newHeight = squash ? shortSide : longer(height, width, shortSide);
    int newWidth = squash ? shortSide : longer(width, height, shortSide);
    if (newHeight == height && newWidth == width) return this;
    float[] pixels = new float[rgb.length];
    for (int i = 0; i < rgb.length; i++) pixels[i] = rgb[i] & 255;
    pixels = resizeAxis(pixels, height, newHeight, 1, 3 * width);
    pixels = resizeAxis(pixels, width, newWidth, newHeight, 3);
    byte[] result = new byte[pixels.length];
    for (int i = 0; i < result.length; i++) {
      result[i] = Sampling.toByte(pixels[i]);
    }
    return new Frame(result, newWidth, newHeight);
  }

  private static int longer(int side, int other, int shortSide) {
    if (side <= other) return shortSide;
    double scaled = Math.rint((double) side * shortSide / other);
    return Math.max(shortSide, (int) scaled);
  }

  /** Resizes the middle axis of `(outer, size, inner)` values. */
  private static float[] resizeAxis(
      float[] source, int size, int newSize, int outer, int inner) {
    float[] target = new float[outer * newSize * inner];
    Taps taps = new Taps(size, newSize);
    for (int block = 0; block < outer; block++) {
      for (int row = 0; row < newSize; row++) {
        int to = (block * newSize + row) * inner;
        for (int tap = 0; tap < taps.weights[row].length; tap++) {
          int from = (block * size + taps.first[row] + tap) * inner;
          float weight = taps.weights[row][tap];
          for (int i = 0; i < inner; i++) {
            target[to + i] += source[from + i] * weight;
          }
        }
      }
    }
    return target;
  }

  /** First place of each new row, and its weights. */
  private static final class Taps {
    final int[] first;
    final float[][] weights;

    Taps(int size, int newSize) {
      first = new int[newSize];
      weights = new float[newSize][];
      double step = (double) size / newSize;
      double reach = Math.max(step, 1);
      for (int row = 0; row < newSize; row++) {
        double centre = (row + 0.5) * step - 0.5;
        int from = Math.max(0, (int) Math.floor(centre - reach));
        int to = Math.min(size - 1, (int) Math.ceil(centre + reach));
        double[] triangle = new double[to - from + 1];
        double total = 0;
        for (int i = from; i <= to; i++) {
          triangle[i - from] = Math.max(0, 1 - Math.abs(i - centre) / reach);
          total += triangle[i - from];
        }
        first[row] = from;
        weights[row] = new float[triangle.length];
        for (int i = 0; i < triangle.length; i++) {
          weights[row][i] = (float) (triangle[i] / total);
        }
      }
    }
  }

  /** Cuts out the centre square. */
  Frame centre(int size) {
    int top = (height - size) / 2;
    int left = (width - size) / 2;
    byte[] cut = new byte[3 * size * size];
    for (int row = 0; row < size; row++) {
      int from = 3 * ((top + row) * width + left);
      System.arraycopy(rgb, from, cut, 3 * row * size, 3 * size);
    }
    return new Frame(cut, size, size);
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
