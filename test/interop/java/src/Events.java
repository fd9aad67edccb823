import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/**
 * Lines of JSON on standard output, each in one write: where that is a file opened for appending, the lines of all workers stand in it
 * in the order in which they were written.
 */
final class Events {
  private static final FileOutputStream OUT = new FileOutputStream(FileDescriptor.out);
  private static String worker = "";

  static void nameWorker(String name) {
    worker = name;
  }

  /** @param fields names and values in turn; values that are null are left out */
  static void print(String event, Object... fields) {
    StringBuilder line = new StringBuilder();
    line.append("{\"worker\":").append(quote(worker)).append(",\"event\":").append(quote(event));
    for (int at = 0; at < fields.length; at += 2) {
      Object value = fields[at + 1];
      if (value == null) continue;
      line.append(',').append(quote(String.valueOf(fields[at]))).append(':');
      line.append(value instanceof Number ? value.toString() : quote(value.toString()));
    }
    try {
      OUT.write(line.append("}\n").toString().getBytes(StandardCharsets.UTF_8));
    } catch (IOException failed) {
      throw new UncheckedIOException(failed);
    }
  }

  private static String quote(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c == '"' || c == '\\') quoted.append('\\').append(c);
      else if (c < ' ') quoted.append(String.format("\\u%04x", (int) c));
      else quoted.append(c);
    }
    return quoted.append('"').toString();
  }

  private Events() {}
}
