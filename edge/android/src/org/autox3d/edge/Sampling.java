package org.autox3d.edge;

import java.util.Arrays;
import java.util.List;

/**
 * Which frames of a video make a clip, and their colours, step by step as
 * autox3d_tf/data/sampling.py does it, down to the rounding.
 */
final class Sampling {
  static final List<String> MODES = Arrays.asList("segment", "dense");

  private static final double MEAN = 0.45; // of each channel, and
  private static final double DEVIATION = 0.225; // of pixels in [0, 1]

  private Sampling() {}

  /** Frame numbers of a clip under one of `MODES`. */
  static int[] indices(
      String mode, int numFrames, int clipFrames, double stride) {
    int[] numbers = new int[clipFrames];
    int reach = (int) ((clipFrames - 1) * stride);
    int start = Math.max(0, numFrames - reach - 1) / 2;
    for (int i = 0; i < clipFrames; i++) {
      int number =
          mode.equals("segment")
              ? (int) ((i + 0.5) * numFrames / clipFrames)
              : start + (int) (i * stride);
      numbers[i] = Math.min(numFrames - 1, number);
    }
    return numbers;
  }

  /** Frames at `fps` that last as long as `count` at the `known` rate. */
  static double atRate(double count, double known, double fps) {
    // Of equal rates exactly so many: what is a bit less, is a frame earlier.
    boolean changes = fps > 0 && known > 0 && fps != known;
    return changes ? count * fps / known : count;
  }

  /**
   * Shifts and scales the colours of a clip to the mean and deviation that
   * networks expect, in place.
   *
   * @param clip RGB frames, one after another.
   * @param frames How many.
   * @param how false for nothing, true for the clip as a whole, "frame" for
   *     each frame by itself.
   */
  static void standardize(byte[] clip, int frames, Object how) {
    if (how.equals(false)) return;
    int parts = how.equals("frame") ? frames : 1;
    int length = clip.length / parts;
    for (int part = 0; part < parts; part++) {
      standardizePart(clip, part * length, (part + 1) * length);
    }
  }

  private static void standardizePart(byte[] clip, int from, int to) {
    double[] means = new double[3];
    for (int i = from; i < to; i++) means[(i - from) % 3] += clip[i] & 255;
    for (int i = 0; i < 3; i++) means[i] /= (to - from) / 3;
    double squares = 0;
    for (int i = from; i < to; i++) {
      double centred = (clip[i] & 255) - means[(i - from) % 3];
      squares += centred * centred;
    }
    double deviation = Math.max(Math.sqrt(squares / (to - from)), 1);
    double scale = 255 * DEVIATION / deviation;
    for (int i = from; i < to; i++) {
      double centred = (clip[i] & 255) - means[(i - from) % 3];
      clip[i] = toByte(255 * MEAN + centred * scale);
    }
  }

  static byte toByte(double value) {
    return (byte) Math.min(255, Math.max(0, Math.rint(value)));
  }
}
