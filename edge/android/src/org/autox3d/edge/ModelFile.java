package org.autox3d.edge;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

/**
 * A .tflite that autox3d-export wrote: the network, and behind it, in a zip,
 * what the file says about itself (edge/autox3d_edge/manifest.py).
 */
public final class ModelFile {
  static final String FRAME = "frame"; // tensors of a stream
  static final String SCORES = "scores";

  private static final String FORMAT = "autox3d_edge";
  private static final int SCHEMA_VERSION = 1;
  private static final String NAME = "manifest.json";
  private static final int MOST_BYTES = 16 << 20; // not to fill the memory
  private static final int KIND_BYTES = 8; // whose second half is the kind
  private static final int END = 0x06054b50; // of a zip (APPNOTE.TXT 4.3.16)
  private static final int END_BYTES = 22;
  private static final int ENTRY_BYTES = 46; // of its directory, without names

  /** How a video becomes the clip that the network takes. */
  static final class Preprocessing {
    final int clipFrames;
    final String sampling;
    final double stride;
    final int shortSide;
    final int cropSize;
    final boolean squash;
    final Object standardize; // true, false or "frame"
    final double strideFps;
    final double fps;

    Preprocessing(Fields fields) {
      clipFrames = fields.count("clip_frames");
      sampling = fields.get("sampling", String.class);
      shortSide = fields.count("short_side");
      cropSize = fields.count("crop_size");
      // Older files lack some of these.
      stride =
          sampling.equals("dense")
              ? fields.count("stride", 1)
              : fields.number("stride", 1, 1);
      squash = fields.get("squash", Boolean.class, false);
      standardize = fields.get("standardize", Object.class, false);
      strideFps = fields.number("stride_fps", 0, 0);
      fps = fields.number("fps", 0, 0);
      fields.check(
          "standardize",
          standardize instanceof Boolean || "frame".equals(standardize));
      fields.check("sampling", Sampling.MODES.contains(sampling));
      fields.check("crop_size", cropSize <= shortSide);
    }

    /** Frames of a video per frame of a clip, as long as in training. */
    double strideAt(double videoFps) {
      double known = strideFps > 0 ? strideFps : inThousandths(fps);
      double rate = inThousandths(videoFps > 0 ? videoFps : fps);
      return Sampling.atRate(stride, known, rate);
    }

    /** Three digits, as lists of clips have them. */
    private static double inThousandths(double fps) {
      return Math.floor(fps * 1000 + 0.5) / 1000;
    }
  }

  /** What a stream carries from one frame to the next. */
  static final class State {
    private static final List<String> TYPES =
        Arrays.asList("uint8", "int8", "int32", "float32");
    private static final double[] LEAST = {0, -128, Integer.MIN_VALUE, 0};
    private static final double[] LARGEST = {255, 127, Integer.MAX_VALUE, 0};

    final String input;
    final String output;
    final double initial;

    State(Fields fields) {
      input = fields.get("input", String.class);
      output = fields.get("output", String.class);
      for (Object size : fields.get("shape", List.class)) {
        fields.check("shape", Fields.isCount(size));
      }
      int type = TYPES.indexOf(fields.get("dtype"));
      fields.check("dtype", type >= 0);
      initial = fields.get("initial", Double.class);
      fields.check(
          "initial",
          initial == Math.rint(initial)
              && initial >= LEAST[type]
              && initial <= LARGEST[type]);
    }
  }

  /** How a file is fed that takes one frame at a time. */
  static final class Stream {
    final List<State> states = new ArrayList<>();
    final double stride;
    final double fps;

    Stream(Fields fields) {
      fields.count("memory");
      stride = fields.count("stride", 1);
      fps = fields.number("fps", 0, 0);
      for (Object state : fields.get("states", List.class)) {
        states.add(new State(new Fields(state)));
      }
    }
  }

  final Preprocessing preprocessing;
  final Stream stream; // null if the network takes clips
  final Graph graph;

  private final ByteBuffer model;
  private final List<String> labels;
  private final String precision;

  private ModelFile(byte[] model, Fields fields) {
    this.model =
        ByteBuffer.allocateDirect(model.length).order(ByteOrder.nativeOrder());
    this.model.put(model).rewind();
    preprocessing =
        new Preprocessing(new Fields(fields.get("preprocessing", Map.class)));
    precision = fields.get("precision", String.class);
    stream =
        fields.has("stream")
            ? new Stream(new Fields(fields.get("stream", Map.class)))
            : null;
    List<String> names = new ArrayList<>();
    for (Object label : fields.get("labels", List.class)) {
      fields.check("labels", label instanceof String);
      names.add((String) label);
    }
    labels = Collections.unmodifiableList(names);
    graph = new Graph(this.model);
  }

  /**
   * Reads and checks a whole file, before an interpreter sees any of it.
   *
   * @param source Such as {@code assets.open("model_int8.tflite")}; read to
   *     its end, and left open.
   * @throws IOException The file cannot be read, is cut short, changed, or not
   *     ours.
   */
  public static ModelFile read(InputStream source) throws IOException {
    Frame.checkThere(source, "source");
    byte[] bytes = readAll(source);
    byte[] content = findManifest(bytes);
    Fields fields;
    try {
      fields = new Fields(Json.parse(text(content)));
    } catch (IllegalArgumentException error) {
      throw new IOException(
          "This file is damaged: its manifest is not JSON ("
              + error.getMessage() + ").",
          error);
    }
    if (!FORMAT.equals(fields.get("format"))) {
      throw new IOException("This file was not exported by " + FORMAT + ".");
    }
    Object version = fields.get("schema_version");
    if (!Double.valueOf(SCHEMA_VERSION).equals(version)) {
      throw new IOException(
          "Cannot read the manifest of this file. Expected: schema_version="
              + SCHEMA_VERSION + ". Received: " + version + ".");
    }
    try {
      int size = fields.count("model_bytes");
      fields.check("model_bytes", size <= bytes.length);
      byte[] model = Arrays.copyOf(bytes, size);
      if (!sha256(model).equals(fields.get("model_sha256"))) {
        throw new IOException(
            "This file is damaged: its model was changed after export.");
      }
      return new ModelFile(model, fields);
    } catch (IllegalArgumentException error) {
      throw new IOException(
          "The manifest of this file is incomplete; export the model again. "
              + "Missing: " + error.getMessage() + ".",
          error);
    } catch (IndexOutOfBoundsException error) { // of Graph
      throw new IOException("The model of this file is no .tflite.", error);
    }
  }

  /** The network, for the constructor of an interpreter; a new view of it. */
  public ByteBuffer model() {
    return model.duplicate().order(ByteOrder.nativeOrder());
  }

  /** Names of the classes, in the order of the scores. */
  public List<String> labels() {
    return labels;
  }

  /** Such as "int8" or "fp32". */
  public String precision() {
    return precision;
  }

  /** Whether the network takes one frame at a time, not clips. */
  public boolean isStream() {
    return stream != null;
  }

  private static byte[] readAll(InputStream source) throws IOException {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    byte[] part = new byte[1 << 16];
    boolean checked = false;
    for (int count; (count = source.read(part)) >= 0; ) {
      all.write(part, 0, count);
      if (!checked && all.size() >= KIND_BYTES) {
        // Before the rest: what is no model may be larger than memory.
        checkKind(all.toByteArray());
        checked = true;
      }
    }
    byte[] bytes = all.toByteArray();
    checkKind(bytes);
    return bytes;
  }

  private static void checkKind(byte[] bytes) throws IOException {
    if (bytes.length < KIND_BYTES
        || !text(Arrays.copyOfRange(bytes, 4, KIND_BYTES)).equals("TFL3")) {
      throw new IOException(
          "This is not a .tflite file (" + bytes.length + " bytes).");
    }
  }

  /** Unpacks the manifest from the zip at the end of a file. */
  private static byte[] findManifest(byte[] bytes) throws IOException {
    ByteBuffer view = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    int end = bytes.length - END_BYTES;
    if (end < 0 || view.getInt(end) != END) {
      throw new IOException(
          "This file has no manifest: it was cut short, or not exported by "
              + FORMAT + ".");
    }
    int start = findFirst(view, end);
    String reason = "no " + NAME;
    if (start >= 0 && start < end) {
      try {
        byte[] content = readEntry(bytes, start);
        if (content != null) return content;
      } catch (IOException | IllegalArgumentException error) {
        reason = String.valueOf(error.getMessage());
      }
    }
    throw new IOException(
        "This file is damaged: its manifest cannot be unpacked ("
            + reason + ").");
  }

  /** Returns where the first entry is; -1 if the directory is not there. */
  private static int findFirst(ByteBuffer view, int end) {
    int directory = end - view.getInt(end + 12);
    if (directory < 0 || directory > end - ENTRY_BYTES) return -1;
    // Where its offsets count from: in older files the zip, not the model.
    int origin = directory - view.getInt(end + 16);
    return origin + view.getInt(directory + 42);
  }

  private static byte[] readEntry(byte[] bytes, int start) throws IOException {
    ZipInputStream zip =
        new ZipInputStream(
            new ByteArrayInputStream(bytes, start, bytes.length - start));
    for (ZipEntry entry; (entry = zip.getNextEntry()) != null; ) {
      if (!entry.getName().equals(NAME)) continue;
      ByteArrayOutputStream content = new ByteArrayOutputStream();
      byte[] part = new byte[1 << 12];
      for (int count; (count = zip.read(part)) >= 0; ) {
        content.write(part, 0, count);
        if (content.size() > MOST_BYTES) {
          throw new IOException("more than " + MOST_BYTES + " bytes");
        }
      }
      return content.toByteArray();
    }
    return null;
  }

  private static String sha256(byte[] bytes) {
    try {
      StringBuilder digest = new StringBuilder();
      for (byte one : MessageDigest.getInstance("SHA-256").digest(bytes)) {
        digest.append(String.format("%02x", one));
      }
      return digest.toString();
    } catch (NoSuchAlgorithmException error) {
      throw new AssertionError("every Java has SHA-256", error);
    }
  }

  private static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /** Fields of a JSON object; what is missing is named. */
  static final class Fields {
    private final Map<?, ?> values;

    Fields(Object values) {
      this.values =
          values instanceof Map ? (Map<?, ?>) values : Collections.emptyMap();
    }

    Object get(String name) {
      return values.get(name);
    }

    boolean has(String name) {
      return values.get(name) != null;
    }

    <T> T get(String name, Class<T> type) {
      check(name, type.isInstance(values.get(name)));
      return type.cast(values.get(name));
    }

    <T> T get(String name, Class<T> type, T otherwise) {
      return values.containsKey(name) ? get(name, type) : otherwise;
    }

    double number(String name, double least, double otherwise) {
      double value = get(name, Double.class, otherwise);
      check(name, value >= least && value < Double.POSITIVE_INFINITY);
      return value;
    }

    int count(String name, int otherwise) {
      return values.containsKey(name) ? count(name) : otherwise;
    }

    int count(String name) {
      check(name, isCount(get(name)));
      return get(name, Double.class).intValue();
    }

    static boolean isCount(Object value) {
      if (!(value instanceof Double)) return false;
      double number = (Double) value;
      return number >= 1 && number == (int) number;
    }

    void check(String name, boolean isThere) {
      if (!isThere) throw new IllegalArgumentException(name);
    }
  }
}
