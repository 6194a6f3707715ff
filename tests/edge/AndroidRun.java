package org.autox3d.edge;

import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * Runs edge/android on a JVM for ports.py: {@code AndroidRun REQUEST ANSWER}.
 * The process that started it stands in for TensorFlow Lite: a path and the
 * inputs go to it, the outputs come back.
 */
public final class AndroidRun {
  private static final DataOutputStream OUT = new DataOutputStream(System.out);
  private static final DataInputStream IN = new DataInputStream(System.in);

  private final Map<?, ?> call;

  private AndroidRun(Object call) {
    this.call = (Map<?, ?>) call;
  }

  public static void main(String[] paths) throws IOException {
    byte[] request = Files.readAllBytes(Paths.get(paths[0]));
    List<String> answers = new ArrayList<>();
    for (Object call : (List<?>) Json.parse(text(request))) {
      String kind = "value";
      Object answer;
      try {
        answer = new AndroidRun(call).answer();
      } catch (IOException | IllegalArgumentException error) {
        kind = "error";
        answer = error.getMessage();
      }
      answers.add("{\"" + kind + "\": " + json(answer) + "}");
    }
    Files.write(
        Paths.get(paths[1]),
        answers.toString().getBytes(StandardCharsets.UTF_8));
  }

  private Object answer() throws IOException {
    switch ((String) call.get("do")) {
      case "sampleIndices":
        return Sampling.indices(
            (String) given(0), whole(given(1)), whole(given(2)),
            (Double) given(3));
      case "cut":
        List<Object> cut = new ArrayList<>();
        for (Frame frame : frames()) {
          if (call.containsKey("turn")) {
            frame = frame.rotated(whole(call.get("turn")));
          }
          frame = frame.cut(
              whole(given(0)), whole(given(1)), (Boolean) given(2));
          cut.add(frame.rgb());
        }
        return cut;
      case "turn":
        List<Object> turned = new ArrayList<>();
        for (Frame frame : frames()) {
          turned.add(frame.rotated(whole(given(0))).rgb());
        }
        return turned;
      case "argb":
        int width = whole(clip("width"));
        int[] argb = new int[width * whole(clip("height"))];
        ByteBuffer.wrap(bytes()).asIntBuffer().get(argb);
        return Frame.ofArgb(argb, width, argb.length / width).rgb();
      case "padded":
        ByteBuffer rgba = ByteBuffer.wrap(bytes());
        return Frame.ofRgba(
            rgba, whole(given(0)), whole(given(1)), whole(given(2))).rgb();
      case "standardize":
        byte[] values = bytes();
        Sampling.standardize(values, whole(clip("count")), call.get("how"));
        return values;
      case "parse":
        return Json.parse((String) given(0));
      case "manifest":
        return file().labels();
      case "frameNumbers":
        return load().frameNumbers(whole(given(0)), (Double) given(1));
      case "named":
        return listed(load().named(scores(), whole(call.get("top"))));
      case "about":
        Recognizer asked = load();
        return Arrays.asList(
            asked.labels(), asked.clipShape(), asked.hop(), asked.window(),
            asked.fps());
      case "makeClip":
        return load().makeClip(frames());
      case "clipOf":
        return load().clipOf(frames());
      case "scores":
        return load().scores(bytes());
      case "null":
        return withNull((String) given(0));
      case "classify":
        return listed(load().classify(frames(), whole(call.get("top"))));
      case "push":
        Recognizer recognizer = load();
        List<Object> found = new ArrayList<>();
        for (Frame frame : frames()) {
          List<?> times = (List<?>) call.get("seconds");
          found.add(
              times == null
                  ? recognizer.push(frame)
                  : recognizer.push(frame, (Double) times.get(found.size())));
          if (Boolean.TRUE.equals(call.get("nulls"))) pushNull(recognizer);
        }
        recognizer.reset();
        found.add(recognizer.push(frames().get(0)));
        return found;
      default:
        throw new AssertionError(call);
    }
  }

  private static List<Object> listed(List<Recognizer.Guess> guesses) {
    List<Object> pairs = new ArrayList<>();
    for (Recognizer.Guess guess : guesses) {
      pairs.add(Arrays.asList(guess.label, guess.probability));
    }
    return pairs;
  }

  private float[] scores() {
    if (given(0) == null) return null;
    List<?> numbers = (List<?>) given(0);
    float[] scores = new float[numbers.size()];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = ((Double) numbers.get(i)).floatValue();
    }
    return scores;
  }

  private Object withNull(String method) throws IOException {
    switch (method) {
      case "classify":
        return load().classify(Arrays.asList(frames().get(0), null));
      case "makeClip":
        return load().makeClip(null);
      case "clipOf":
        return load().clipOf(null);
      case "scores":
        return load().scores(null);
      case "reset":
        load().reset(null);
        return null;
      case "network":
        return new Recognizer(file(), null);
      case "ofRgb":
        return Frame.ofRgb(null, 1, 1);
      case "ofArgb":
        return Frame.ofArgb(null, 1, 1);
      case "ofRgba":
        return Frame.ofRgba(null, 1, 1, 4);
      case "read":
        return ModelFile.read(null);
      default:
        throw new AssertionError(method);
    }
  }

  private static void pushNull(Recognizer recognizer) {
    try {
      recognizer.push(null);
      throw new AssertionError("null was taken");
    } catch (IllegalArgumentException expected) {
      // as if it had not come
    }
  }

  private ModelFile file() throws IOException {
    byte[] content = Files.readAllBytes(Paths.get((String) call.get("model")));
    return ModelFile.read(new ByteArrayInputStream(content));
  }

  private Recognizer load() throws IOException {
    Recognizer.Pace pace = new Recognizer.Pace();
    if (call.get("options") instanceof Map) {
      Map<?, ?> options = (Map<?, ?>) call.get("options");
      if (options.containsKey("hop")) pace.hop = whole(options.get("hop"));
      if (options.containsKey("window")) {
        pace.window = whole(options.get("window"));
      }
      if (options.containsKey("fps")) pace.fps = (Double) options.get("fps");
    }
    return new Recognizer(file(), this::run, pace);
  }

  private void run(Object[] inputs, Map<Integer, Object> outputs) {
    try {
      send(((String) call.get("model")).getBytes(StandardCharsets.UTF_8));
      for (Object input : inputs) {
        byte[] content = new byte[((ByteBuffer) input).capacity()];
        ((ByteBuffer) input).duplicate().get(content);
        send(content);
      }
      OUT.flush();
      for (int i = 0; i < outputs.size(); i++) {
        byte[] content = new byte[IN.readInt()];
        IN.readFully(content);
        ((ByteBuffer) outputs.get(i)).put(content);
      }
    } catch (IOException error) {
      throw new AssertionError(error);
    }
  }

  private static void send(byte[] content) throws IOException {
    OUT.writeInt(content.length);
    OUT.write(content);
  }

  private List<Frame> frames() throws IOException {
    int width = whole(clip("width"));
    int height = whole(clip("height"));
    byte[] content = bytes();
    int length = content.length / whole(clip("count"));
    List<Frame> frames = new ArrayList<>();
    for (int from = 0; from < content.length; from += length) {
      byte[] part = Arrays.copyOfRange(content, from, from + length);
      frames.add(
          clip("channels").equals(4.0)
              ? Frame.ofRgba(ByteBuffer.wrap(part), width, height, 4 * width)
              : Frame.ofRgb(part, width, height));
    }
    return frames;
  }

  private byte[] bytes() throws IOException {
    return Files.readAllBytes(Paths.get((String) clip("file")));
  }

  private Object clip(String name) {
    return ((Map<?, ?>) call.get("clip")).get(name);
  }

  private Object given(int number) {
    return ((List<?>) call.get("given")).get(number);
  }

  private static int whole(Object number) {
    return ((Double) number).intValue();
  }

  private static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }

  private static String json(Object value) {
    if (value instanceof byte[]) {
      List<Object> list = new ArrayList<>();
      for (byte one : (byte[]) value) list.add(one & 255);
      return list.toString();
    }
    if (value instanceof int[]) return Arrays.toString((int[]) value);
    if (value instanceof float[]) return Arrays.toString((float[]) value);
    if (value instanceof List) {
      List<Object> list = new ArrayList<>();
      for (Object one : (List<?>) value) list.add(json(one));
      return list.toString();
    }
    if (value instanceof Map) {
      List<Object> list = new ArrayList<>();
      for (Map.Entry<?, ?> one : ((Map<?, ?>) value).entrySet()) {
        list.add(json(one.getKey()) + ": " + json(one.getValue()));
      }
      String content = list.toString();
      return "{" + content.substring(1, content.length() - 1) + "}";
    }
    return value instanceof String ? quoted((String) value) : "" + value;
  }

  private static String quoted(String text) {
    StringBuilder result = new StringBuilder("\"");
    for (char letter : text.toCharArray()) {
      result.append(String.format("\\u%04x", (int) letter));
    }
    return result.append('"').toString();
  }
}
