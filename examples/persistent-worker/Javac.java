import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/**
 * A Java compiler that can stay: with --persistent_worker it serves requests of Bazel's worker
 * protocol (proto, one at a time) from stdin; without, it compiles what its arguments say, once.
 * It uses nothing but the JDK, so the few fields that it needs are read and written by hand.
 */
public final class Javac {
  private static final JavaCompiler COMPILER = ToolProvider.getSystemJavaCompiler();

  public static void main(String[] args) throws IOException {
    if (List.of(args).contains("--persistent_worker")) {
      serve(new DataInputStream(System.in), System.out);
      return;
    }
    List<String> arguments = new ArrayList<>();
    for (String arg : args) {
      if (arg.startsWith("@")) {
        arguments.addAll(Files.readAllLines(Path.of(arg.substring(1))));
      } else {
        arguments.add(arg);
      }
    }
    StringWriter said = new StringWriter();
    int code = compile(arguments, said);
    System.err.print(said);
    System.exit(code);
  }

  private static int compile(List<String> arguments, StringWriter said) throws IOException {
    List<String> options = new ArrayList<>();
    List<String> sources = new ArrayList<>();
    for (String argument : arguments) {
      (argument.endsWith(".java") ? sources : options).add(argument);
    }
    try (StandardJavaFileManager files = COMPILER.getStandardFileManager(null, null, null)) {
      boolean done =
          COMPILER
              .getTask(
                  new PrintWriter(said, true),
                  files,
                  null,
                  options,
                  null,
                  files.getJavaFileObjectsFromStrings(sources))
              .call();
      return done ? 0 : 1;
    }
  }

  private static void serve(DataInputStream in, OutputStream out) throws IOException {
    System.setOut(System.err); // a stray print must not be taken for a response
    while (true) {
      byte[] request;
      try {
        request = new byte[(int) readVarint(in)];
      } catch (EOFException end) {
        return;
      }
      in.readFully(request);
      StringWriter said = new StringWriter();
      int code = compile(arguments(request), said);
      byte[] response = response(code, said.toString());
      writeVarint(out, response.length);
      out.write(response);
      out.flush();
    }
  }

  /** Field 1 of a WorkRequest, as often as it comes; all others are passed over. */
  private static List<String> arguments(byte[] request) throws IOException {
    List<String> found = new ArrayList<>();
    DataInputStream in = new DataInputStream(new java.io.ByteArrayInputStream(request));
    while (in.available() > 0) {
      long tag = readVarint(in);
      long value = readVarint(in);
      if ((tag & 7) != 2) {
        continue;
      }
      byte[] text = new byte[(int) value];
      in.readFully(text);
      if (tag >> 3 == 1) {
        found.add(new String(text, StandardCharsets.UTF_8));
      }
    }
    return found;
  }

  /** A WorkResponse: field 1 is the exit code, field 2 what people are to read. */
  private static byte[] response(int code, String said) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    byte[] text = said.getBytes(StandardCharsets.UTF_8);
    writeVarint(out, 1 << 3);
    writeVarint(out, code);
    writeVarint(out, 2 << 3 | 2);
    writeVarint(out, text.length);
    out.write(text);
    return out.toByteArray();
  }

  private static long readVarint(DataInputStream in) throws IOException {
    long value = 0;
    for (int shift = 0; ; shift += 7) {
      int part = in.readUnsignedByte();
      value |= (long) (part & 127) << shift;
      if (part < 128) {
        return value;
      }
    }
  }

  private static void writeVarint(OutputStream out, long value) throws IOException {
    while (value > 127) {
      out.write((int) (value & 127 | 128));
      value >>= 7;
    }
    out.write((int) value);
  }
}
