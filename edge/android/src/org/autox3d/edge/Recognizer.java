package org.autox3d.edge;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Names what happens in a video, with one exported .tflite file. What it does
 * with frames, and how `push` paces them, is that of autox3d_edge.Recognizer.
 *
 * <pre>{@code
 * ModelFile file = ModelFile.read(assets.open("model_int8.tflite"));
 * Interpreter interpreter = new Interpreter(file.model());
 * Recognizer.Pace pace = new Recognizer.Pace();
 * pace.fps = 30; // of the camera
 * Recognizer recognizer =
 *     new Recognizer(file, interpreter::runForMultipleInputsOutputs, pace);
 * float[] scores = recognizer.push(Frame.ofArgb(pixels, width, height));
 * if (scores != null) show(recognizer.named(scores, 1));
 * }</pre>
 *
 * <p>Threads may share one: a call waits for the one before it.
 */
public final class Recognizer {
  private static final int MOST_FPS = 1000; // more are thousandths, or no rate
  private static final int MOST_WINDOW = 1_000_000; // frames, which it keeps
  private static final float SCORE_STEP = 1 / 256f; // of a uint8 softmax

  /** What runs the network, as TensorFlow Lite's Interpreter does. */
  public interface Network {
    /**
     * @param inputs A direct ByteBuffer per input, in the model's order.
     * @param outputs A direct ByteBuffer per number of an output, to be filled
     *     from its position on.
     */
    void run(Object[] inputs, Map<Integer, Object> outputs);
  }

  /** When `push` runs the network. What is 0 has its default. */
  public static final class Pace {
    /**
     * `push` runs the network at every `hop`-th frame. By default at those
     * that a stream was trained on; a network of whole clips at every quarter
     * of its window.
     */
    public int hop;

    /**
     * Frames that a network of whole clips looks back on in `push`; by default
     * those that a clip of its training spans. At most 1,000,000.
     */
    public int window;

    /**
     * Frames per second of what `push` and `classify` get, for these defaults
     * to last as long as in training; at most 1000.
     */
    public double fps;
  }

  /** A class and its probability. */
  public static final class Guess {
    public final String label;
    public final float probability;

    Guess(String label, float probability) {
      this.label = label;
      this.probability = probability;
    }

    @Override
    public String toString() {
      return label + " " + probability;
    }
  }

  private final ModelFile file;
  private final Network network;
  private final ModelFile.Preprocessing wanted;
  private final ByteBuffer[] inputs;
  private final ByteBuffer[] outputs;
  private final int input; // number of the frame or clip among the inputs
  private final int scores; // and of the scores among the outputs
  private final int[] stateInputs;
  private final int[] stateOutputs;
  private final ArrayDeque<Frame> frames = new ArrayDeque<>();

  private int hop;
  private int window;
  private double fps;
  private long pushed;
  private long due; // which the network looks at next
  private double seconds;
  private double began;
  private float[] latest;

  /** A recognizer with the pace of its training. */
  public Recognizer(ModelFile file, Network network) {
    this(file, network, new Pace());
  }

  /**
   * @param file Read and checked.
   * @param network Of `file.model()`.
   * @param pace When `push` runs it.
   * @throws IllegalArgumentException The file does not fit its manifest, or
   *     the pace makes no sense.
   */
  public Recognizer(ModelFile file, Network network, Pace pace) {
    Frame.checkThere(file, "file");
    Frame.checkThere(network, "network");
    this.file = file;
    this.network = network;
    wanted = file.preprocessing;
    inputs = buffers(file.graph.inputs);
    outputs = buffers(file.graph.outputs);
    ModelFile.Stream stream = file.stream;
    input = stream == null ? 0 : find(file.graph.inputs, ModelFile.FRAME);
    scores = stream == null ? 0 : find(file.graph.outputs, ModelFile.SCORES);
    int states = stream == null ? 0 : stream.states.size();
    stateInputs = new int[states];
    stateOutputs = new int[states];
    for (int i = 0; i < states; i++) {
      ModelFile.State state = stream.states.get(i);
      stateInputs[i] = find(file.graph.inputs, state.input);
      stateOutputs[i] = find(file.graph.outputs, state.output);
    }
    checkAllNamed(file.graph.inputs, input, stateInputs);
    checkAllNamed(file.graph.outputs, scores, stateOutputs);
    int classes = file.graph.outputs[scores].size();
    if (file.labels().size() != classes) {
      throw new IllegalArgumentException(
          "The manifest must name the " + classes + " classes of the model. "
              + "Received: " + file.labels().size() + " labels.");
    }
    int[] fits = clipShape();
    if (stream != null) fits[0] = 1;
    int[] takes = file.graph.inputs[input].shape;
    if (!Arrays.equals(takes, fits)) {
      throw new IllegalArgumentException(
          "The manifest must fit its network, which takes frames of shape "
              + Arrays.toString(takes) + ". Received: " + Arrays.toString(fits)
              + ". Export the model again.");
    }
    reset(pace);
  }

  /** Names of the classes, in the order of the scores. */
  public List<String> labels() {
    return file.labels();
  }

  /** Frames, height and width of the clip that the network takes, and 3. */
  public int[] clipShape() {
    int size = wanted.cropSize;
    return new int[] {wanted.clipFrames, size, size, 3};
  }

  /** Of the pace, or its default. */
  public synchronized int hop() {
    return hop;
  }

  /** Of the pace, or its default. */
  public synchronized int window() {
    return window;
  }

  /** Of the pace, or that of the training videos; 0 if not known. */
  public synchronized double fps() {
    return fps;
  }

  /**
   * Takes one more frame of a video; returns the latest scores.
   *
   * <p>A stream has scores from the first frame on. A network of whole clips
   * has none until `window` frames are there; then it looks at a clip of the
   * last `window` frames at every `hop`-th frame. In between, the scores stay
   * what they were.
   *
   * @param frame Of any size, upright.
   * @return One per class, or null.
   */
  public synchronized float[] push(Frame frame) {
    return take(frame, 1);
  }

  /**
   * Takes one more frame, and when it was seen. `window` and `hop` then count
   * frames at `fps`, however many come: those beyond are left out, for those
   * that are missing a network of whole clips holds the one before. A stream
   * leaves the looks out that it missed: where each takes too long, more of
   * them would fall behind for good.
   *
   * @param frame Of any size, upright.
   * @param seconds By any clock, such as
   *     {@code image.getImageInfo().getTimestamp() / 1e9}.
   * @return One per class, or null.
   */
  public synchronized float[] push(Frame frame, double seconds) {
    return take(frame, countUntil(seconds));
  }

  /** Takes the last of `count` frames; the others were not seen. */
  private float[] take(Frame frame, long count) {
    Frame.checkThere(frame, "frame");
    if (count == 0) return copy(latest);
    boolean looks = pushed + count >= due;
    // A frame counts once nothing can fail that is its own.
    Frame cut = file.isStream() && !looks ? null : cut(frame);
    if (!file.isStream()) {
      Frame held = frames.isEmpty() ? cut : frames.getLast();
      for (long i = Math.min(count, window); i > 1; i--) frames.add(held);
      frames.add(cut);
      while (frames.size() > window) frames.remove();
    }
    pushed += count;
    if (looks) {
      due += hop * ((pushed - due) / hop + 1);
      latest =
          file.isStream()
              ? run(join(Collections.singletonList(cut)), 0)
              : run(windowClip(), 0);
    }
    return copy(latest);
  }

  /** Frames at `fps` from the last one that was pushed to `seconds`. */
  private long countUntil(double seconds) {
    if (!(fps > 0)) {
      throw new IllegalArgumentException(
          "`seconds` need a frame rate, and the model knows none. Say `fps`.");
    }
    boolean isFinite = Math.abs(seconds) < Double.POSITIVE_INFINITY;
    if (!(isFinite && seconds >= this.seconds)) {
      throw new IllegalArgumentException(
          "`seconds` must be a number and not fall until `reset`. "
              + "Received: seconds=" + seconds + ", after " + this.seconds
              + ".");
    }
    if (this.seconds == Double.NEGATIVE_INFINITY) {
      began = seconds - pushed / fps;
    }
    this.seconds = seconds;
    double place = Math.rint((seconds - began) * fps);
    return Math.max(0, (long) place + 1 - pushed);
  }

  /**
   * The classes of a video, most probable first. What was pushed to a stream
   * before is forgotten.
   *
   * @param video All of its frames, in order; see `frameNumbers` for longer
   *     ones.
   */
  public List<Guess> classify(List<Frame> video) {
    return named(scores(makeClip(video)));
  }

  /** The first `top` of them. */
  public List<Guess> classify(List<Frame> video, int top) {
    return named(scores(makeClip(video)), top);
  }

  /**
   * Numbers of the frames that a clip is made of, for `clipOf`, so that no
   * others need to be decoded.
   *
   * @param count Frames of the video.
   * @param fps Frames per second of it; if 0, those of the recognizer.
   */
  public synchronized int[] frameNumbers(int count, double fps) {
    if (count < 1) {
      throw new IllegalArgumentException(
          "`count` must be a positive integer. Received: " + count + ".");
    }
    checkFps(fps);
    double apart = wanted.strideAt(fps > 0 ? fps : this.fps);
    return Sampling.indices(wanted.sampling, count, wanted.clipFrames, apart);
  }

  /**
   * Samples, scales and crops the frames of a whole video. Frames of the shape
   * of a clip are not sampled, scaled or cropped.
   */
  public byte[] makeClip(List<Frame> video) {
    checkFrames(video, "video");
    if (isClip(video)) return join(video);
    List<Frame> sampled = new ArrayList<>();
    for (int number : frameNumbers(video.size(), 0)) {
      sampled.add(video.get(number));
    }
    return clipOf(sampled);
  }

  /**
   * Scales and crops sampled frames.
   *
   * @param sampled Those of `frameNumbers`.
   * @return uint8 RGB, frame by frame.
   */
  public byte[] clipOf(List<Frame> sampled) {
    checkFrames(sampled, "sampled");
    if (sampled.size() != wanted.clipFrames) {
      throw new IllegalArgumentException(
          "`sampled` must be the " + wanted.clipFrames + " frames of a clip. "
              + "Received: " + sampled.size() + ".");
    }
    List<Frame> cut = new ArrayList<>();
    for (Frame frame : sampled) cut.add(cut(frame));
    return join(cut);
  }

  /** Scores of one prepared clip. */
  public synchronized float[] scores(byte[] clip) {
    Frame.checkThere(clip, "clip");
    int length = 3 * wanted.cropSize * wanted.cropSize;
    if (clip.length != length * wanted.clipFrames) {
      throw new IllegalArgumentException(
          "`clip` must have " + length * wanted.clipFrames + " values. "
              + "Received: " + clip.length + ".");
    }
    if (!file.isStream()) return run(clip, 0);
    reset();
    try {
      float[] found = null;
      for (int from = 0; from < clip.length; from += length) {
        found = run(clip, from);
      }
      return found;
    } finally { // leave nothing behind, whatever the interpreter does
      reset();
    }
  }

  /** The classes of scores, most probable first. */
  public List<Guess> named(float[] scores) {
    int classes = labels().size();
    if (scores == null || scores.length != classes) {
      throw new IllegalArgumentException(
          "`scores` must be " + classes + " numbers, one per class. Received: "
              + (scores == null
                  ? "null, as of `push` before it has looked"
                  : "" + scores.length)
              + ".");
    }
    List<Guess> guesses = new ArrayList<>();
    for (int i = 0; i < scores.length; i++) {
      guesses.add(new Guess(file.labels().get(i), scores[i]));
    }
    Collections.sort(
        guesses, (a, b) -> Float.compare(b.probability, a.probability));
    return guesses;
  }

  /** The first `top` of them. */
  public List<Guess> named(float[] scores, int top) {
    if (top < 1) {
      throw new IllegalArgumentException(
          "`top` must be a positive integer. Received: " + top + ".");
    }
    return named(scores).subList(0, Math.min(top, scores.length));
  }

  /** Forgets the frames that were pushed. */
  public synchronized void reset() {
    frames.clear();
    pushed = 0;
    due = file.isStream() ? 1 : window;
    seconds = Double.NEGATIVE_INFINITY;
    latest = null;
    for (int i = 0; i < stateInputs.length; i++) {
      Graph.Tensor tensor = file.graph.inputs[stateInputs[i]];
      fill(inputs[stateInputs[i]], tensor, file.stream.states.get(i).initial);
    }
  }

  /** Forgets the frames that were pushed; the next come at another pace. */
  public synchronized void reset(Pace pace) {
    Frame.checkThere(pace, "pace");
    if (pace.hop < 0 || pace.window < 0) {
      throw new IllegalArgumentException(
          "`hop` and `window` must be positive, or 0 for defaults. "
              + "Received: " + pace.hop + ", " + pace.window + ".");
    }
    checkFps(pace.fps);
    double stride = wanted.strideAt(pace.fps);
    double spanned = Math.rint(wanted.clipFrames * Math.max(1, stride));
    double kept = pace.window > 0 ? pace.window : spanned;
    if (!file.isStream() && kept > MOST_WINDOW) {
      throw new IllegalArgumentException(
          "`window` must be at most " + MOST_WINDOW + " frames. "
              + "Received: window=" + kept + ".");
    }
    double usual = wanted.fps > 0 ? wanted.fps : wanted.strideFps;
    fps = pace.fps > 0 ? pace.fps : usual;
    window = (int) kept;
    double looks = window / 4;
    if (file.isStream()) {
      double training = file.stream.stride * file.stream.fps;
      looks = Sampling.atRate(file.stream.stride, training, pace.fps);
      looks = Math.rint(looks);
    }
    hop = pace.hop > 0 ? pace.hop : Math.max(1, (int) looks);
    reset();
  }

  private static void checkFps(double fps) {
    if (!(fps >= 0 && fps <= MOST_FPS)) {
      throw new IllegalArgumentException(
          "`fps` must be a positive number, at most " + MOST_FPS
              + ", or 0 if not known. Received: fps=" + fps + ".");
    }
  }

  private static void checkFrames(List<Frame> frames, String name) {
    Frame.checkThere(frames, name);
    int number = 0;
    for (Frame frame : frames) {
      Frame.checkThere(frame, name + "[" + number++ + "]");
    }
  }

  private boolean isClip(List<Frame> video) {
    if (video.size() != wanted.clipFrames) return false;
    for (Frame frame : video) {
      if (frame.width != wanted.cropSize || frame.height != wanted.cropSize) {
        return false;
      }
    }
    return true;
  }

  private Frame cut(Frame frame) {
    return frame.cut(wanted.shortSide, wanted.cropSize, wanted.squash);
  }

  private byte[] windowClip() {
    List<Frame> seen = new ArrayList<>(frames);
    double apart = (double) window / wanted.clipFrames;
    List<Frame> chosen = new ArrayList<>();
    for (int place :
        Sampling.indices(wanted.sampling, window, wanted.clipFrames, apart)) {
      chosen.add(seen.get(place));
    }
    return join(chosen);
  }

  /** One clip of the values of its frames. */
  private byte[] join(List<Frame> cut) {
    int length = 3 * wanted.cropSize * wanted.cropSize;
    byte[] clip = new byte[length * cut.size()];
    for (int i = 0; i < cut.size(); i++) {
      System.arraycopy(cut.get(i).rgb(), 0, clip, i * length, length);
    }
    Sampling.standardize(clip, cut.size(), wanted.standardize);
    return clip;
  }

  /** Runs the network on the values of a clip or frame; states move on. */
  private float[] run(byte[] values, int from) {
    Graph.Tensor tensor = file.graph.inputs[input];
    ByteBuffer buffer = inputs[input];
    boolean isFloat = tensor.dtype.equals("float32");
    for (int i = 0, size = tensor.size(); i < size; i++) {
      int value = values[from + i] & 255;
      if (isFloat) {
        buffer.putFloat(4 * i, value);
      } else {
        buffer.put(i, (byte) value);
      }
    }
    Map<Integer, Object> wantedOutputs = new HashMap<>();
    for (ByteBuffer one : inputs) one.clear();
    for (int i = 0; i < outputs.length; i++) {
      outputs[i].clear();
      wantedOutputs.put(i, outputs[i]);
    }
    network.run(inputs.clone(), wantedOutputs);
    for (int i = 0; i < stateInputs.length; i++) {
      ByteBuffer next = outputs[stateOutputs[i]];
      outputs[stateOutputs[i]] = inputs[stateInputs[i]];
      inputs[stateInputs[i]] = next;
    }
    return read(outputs[scores], file.graph.outputs[scores]);
  }

  private static float[] read(ByteBuffer buffer, Graph.Tensor tensor) {
    float[] values = new float[tensor.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] =
          tensor.dtype.equals("float32")
              ? buffer.getFloat(4 * i)
              : (buffer.get(i) & 255) * SCORE_STEP;
    }
    return values;
  }

  private static void fill(
      ByteBuffer buffer, Graph.Tensor tensor, double initial) {
    for (int i = 0; i < tensor.size(); i++) {
      if (tensor.dtype.equals("float32")) {
        buffer.putFloat(4 * i, (float) initial);
      } else if (tensor.dtype.equals("int32")) {
        buffer.putInt(4 * i, (int) initial);
      } else {
        buffer.put(i, (byte) (int) initial);
      }
    }
  }

  private static ByteBuffer[] buffers(Graph.Tensor[] tensors) {
    ByteBuffer[] result = new ByteBuffer[tensors.length];
    for (int i = 0; i < result.length; i++) result[i] = tensors[i].buffer();
    return result;
  }

  private static int find(Graph.Tensor[] tensors, String name) {
    for (int i = 0; i < tensors.length; i++) {
      if (tensors[i].name.equals(name)) return i;
    }
    throw new IllegalArgumentException(
        "The manifest must name tensors of the model. Received: " + name + ".");
  }

  /** A state that nobody feeds would be zeros, or what memory holds. */
  private static void checkAllNamed(
      Graph.Tensor[] tensors, int main, int[] states) {
    boolean[] named = new boolean[tensors.length];
    named[main] = true;
    for (int state : states) named[state] = true;
    for (int i = 0; i < named.length; i++) {
      if (!named[i]) {
        throw new IllegalArgumentException(
            "The manifest must name all tensors of the model. Missing: "
                + tensors[i].name + ".");
      }
    }
  }

  private static float[] copy(float[] values) {
    return values == null ? null : values.clone();
  }
}
