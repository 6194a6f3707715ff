package org.autox3d.edge;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Reads JSON (RFC 8259) into Map, List, String, Double, Boolean and null.
 *
 * <p>Android has org.json and a JVM has nothing: this one runs on both.
 */
final class Json {
  private static final int MAX_DEPTH = 100; // deeper would overflow the stack
  private static final Pattern NUMBER =
      Pattern.compile("-?(0|[1-9][0-9]*)([.][0-9]+)?([Ee][+-]?[0-9]+)?");

  private final String text;
  private int at;
  private int depth;

  private Json(String text) {
    this.text = text;
  }

  /**
   * Returns the one value that a text holds.
   *
   * @throws IllegalArgumentException The text is not JSON.
   */
  static Object parse(String text) {
    Json reader = new Json(text);
    Object value = reader.value();
    reader.skipSpace();
    if (reader.at < text.length()) throw reader.unexpected();
    return value;
  }

  private Object value() {
    skipSpace();
    if (at == text.length()) throw unexpected();
    switch (text.charAt(at)) {
      case '{':
        return object();
      case '[':
        return list();
      case '"':
        return string();
      case 't':
        return word("true", true);
      case 'f':
        return word("false", false);
      case 'n':
        return word("null", null);
      default:
        return number();
    }
  }

  private Map<String, Object> object() {
    Map<String, Object> fields = new LinkedHashMap<>();
    open();
    while (!close('}', fields.isEmpty())) {
      skipSpace();
      if (at == text.length() || text.charAt(at) != '"') throw unexpected();
      String name = string();
      skipSpace();
      expect(':');
      fields.put(name, value());
    }
    return fields;
  }

  private List<Object> list() {
    List<Object> values = new ArrayList<>();
    open();
    while (!close(']', values.isEmpty())) values.add(value());
    return values;
  }

  private void open() {
    at++;
    if (++depth > MAX_DEPTH) throw unexpected();
  }

  /** Whether the bracket closes here; else what comes is another element. */
  private boolean close(char bracket, boolean first) {
    skipSpace();
    if (at < text.length() && text.charAt(at) == bracket) {
      at++;
      depth--;
      return true;
    }
    if (!first) expect(',');
    return false;
  }

  private String string() {
    StringBuilder result = new StringBuilder();
    for (at++; at < text.length(); at++) {
      char letter = text.charAt(at);
      if (letter == '"') {
        at++;
        return result.toString();
      }
      if (letter < ' ') throw unexpected();
      result.append(letter == '\\' ? escaped() : letter);
    }
    throw unexpected();
  }

  private char escaped() {
    if (++at == text.length()) throw unexpected();
    int place = "\"\\/bfnrt".indexOf(text.charAt(at));
    if (place >= 0) return "\"\\/\b\f\n\r\t".charAt(place);
    if (text.charAt(at) != 'u' || at + 5 > text.length()) throw unexpected();
    int code = 0;
    for (int i = 0; i < 4; i++) {
      int digit = Character.digit(text.charAt(++at), 16);
      if (digit < 0) throw unexpected();
      code = 16 * code + digit;
    }
    return (char) code;
  }

  private Double number() {
    Matcher number = NUMBER.matcher(text).region(at, text.length());
    if (!number.lookingAt()) throw unexpected();
    at = number.end();
    return Double.valueOf(number.group());
  }

  private Object word(String word, Object value) {
    if (!text.startsWith(word, at)) throw unexpected();
    at += word.length();
    return value;
  }

  private void expect(char letter) {
    if (at == text.length() || text.charAt(at) != letter) throw unexpected();
    at++;
  }

  private void skipSpace() {
    while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
  }

  private IllegalArgumentException unexpected() {
    String found =
        at < text.length() ? "'" + text.charAt(at) + "'" : "the end";
    return new IllegalArgumentException(
        found + " at character " + at + " is not JSON");
  }
}
