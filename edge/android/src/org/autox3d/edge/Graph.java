package org.autox3d.edge;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** Inputs and outputs of a .tflite, in the order of its interpreter. */
final class Graph {
  /** What goes in or comes out; values lie as in `buffer`. */
  static final class Tensor {
    final String name;
    final String dtype;
    final int[] shape;

    Tensor(String name, String dtype, int[] shape) {
      this.name = name;
      this.dtype = dtype;
      this.shape = shape;
    }

    int size() {
      int size = 1;
      for (int length : shape) size *= length;
      return size;
    }

    boolean isWide() {
      return dtype.equals("float32") || dtype.equals("int32");
    }

    /** A new buffer for its values, as TensorFlow Lite wants it. */
    ByteBuffer buffer() {
      int bytes = isWide() ? 4 * size() : size();
      return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
    }
  }

  final Tensor[] inputs;
  final Tensor[] outputs;

  private final ByteBuffer bytes;

  /**
   * Reads the tables of TensorFlow Lite's schema.fbs (version 3).
   *
   * @param model The flatbuffer, already known to be undamaged.
   * @throws IllegalArgumentException A tensor is of a type that exported
   *     files do not have.
   * @throws IndexOutOfBoundsException Something is outside the model.
   */
  Graph(ByteBuffer model) {
    bytes = model.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    int root = follow(0);
    int subgraph = element(field(root, 2), 0); // Model.subgraphs
    int tensors = field(subgraph, 0); // SubGraph.tensors, inputs, outputs
    inputs = read(tensors, field(subgraph, 1));
    outputs = read(tensors, field(subgraph, 2));
  }

  private Tensor[] read(int tensors, int numbers) {
    int[] chosen = integers(numbers);
    Tensor[] result = new Tensor[chosen.length];
    for (int i = 0; i < chosen.length; i++) {
      int table = element(tensors, chosen[i]);
      int type = field(table, 1); // Tensor.shape, type, buffer, name
      result[i] =
          new Tensor(
              string(field(table, 3)),
              dtype(type == 0 ? 0 : bytes.get(type)),
              integers(field(table, 0)));
    }
    return result;
  }

  private static String dtype(int type) {
    switch (type) {
      case 0:
        return "float32";
      case 2:
        return "int32";
      case 3:
        return "uint8";
      case 9:
        return "int8";
      default:
        throw new IllegalArgumentException("a tensor of type " + type);
    }
  }

  /** Where a field of a table is; 0 if it has its default. */
  private int field(int table, int number) {
    int virtual = table - bytes.getInt(table);
    int entry = 4 + 2 * number;
    if (entry >= bytes.getShort(virtual)) return 0;
    int offset = bytes.getShort(virtual + entry);
    return offset == 0 ? 0 : table + offset;
  }

  private int follow(int place) {
    return place + bytes.getInt(place);
  }

  /** Where a table of a field with a vector of tables is. */
  private int element(int field, int number) {
    return follow(follow(field) + 4 + 4 * number);
  }

  /** Of a vector: what is not there is not to fill the memory. */
  private int length(int vector, int width) {
    int length = bytes.getInt(vector);
    int most = (bytes.limit() - vector - 4) / width;
    if (length < 0 || length > most) {
      throw new IndexOutOfBoundsException(
          "a vector must have at most " + most + " values. Received: "
              + length + ".");
    }
    return length;
  }

  private int[] integers(int field) {
    if (field == 0) return new int[0];
    int vector = follow(field);
    int[] values = new int[length(vector, 4)];
    for (int i = 0; i < values.length; i++) {
      values[i] = bytes.getInt(vector + 4 + 4 * i);
    }
    return values;
  }

  private String string(int field) {
    if (field == 0) return "";
    int vector = follow(field);
    byte[] letters = new byte[length(vector, 1)];
    for (int i = 0; i < letters.length; i++) {
      letters[i] = bytes.get(vector + 4 + i);
    }
    return new String(letters, StandardCharsets.UTF_8);
  }
}
