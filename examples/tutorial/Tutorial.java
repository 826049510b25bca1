// PyTorch's introduction to automatic differentiation in Java, which has none of its own.
// Java 17 or newer, nothing to install or to build: java Tutorial.java [http://127.0.0.1:8000]

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public class Tutorial {
    // One layer, z = x w + b, and its loss against y. w and b are the parameters, so they require a gradient.
    static final String CONSTANTS = """
        "x": [1, 1, 1, 1, 1],
        "y": [0, 0, 0],
        "w": {
          "data": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [1.0, 1.1, 1.2], [1.3, 1.4, 1.5]],
          "requires_grad": true
        }""";
    static final String TENSORS = CONSTANTS + """
        , "b": {"data": [0.5, 0.1, 0.2], "requires_grad": true}""";
    static final String FROZEN = CONSTANTS + """
        , "b": [0.5, 0.1, 0.2]""";
    static final String OPS = """
        {"op": "matmul", "inputs": ["x", "w"], "output": "xw"},
        {"op": "add", "inputs": ["xw", "b"], "output": "z"},
        {"op": "binary_cross_entropy_with_logits", "inputs": ["z", "y"], "output": "loss"}""";
    static final String UNTRACKED = """
        {"op": "add", "inputs": ["xw", "b"], "output": "z_no_grad", "no_grad": true},
        {"op": "detach", "inputs": ["z"], "output": "z_detached"}""";

    // Java asks for HTTP/2 first; gradd speaks HTTP/1.1.
    static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    static String server = "http://127.0.0.1:8000";

    public static void main(String[] arguments) throws IOException, InterruptedException {
        if (arguments.length > 0) server = arguments[0];

        say("Forward and backward are one call. The values, and the functions that will carry their gradients back:");
        Object first = post("/v1/gradients", """
            {"graph": %s, "outputs": ["z", "loss"]}""".formatted(graph(TENSORS, OPS)));
        show("z", at(first, "outputs", "z", "data"));
        show("loss", at(first, "outputs", "loss", "data"));
        show("z.grad_fn", at(node(first, "z"), "grad_fn"));
        show("loss.grad_fn", at(node(first, "loss"), "grad_fn"));

        say("The gradients of the loss, which loss.backward() leaves in w.grad and b.grad:");
        show("w.grad", at(first, "gradients", "w", "data"));
        show("b.grad", at(first, "gradients", "b", "data"));

        say("Gradients accumulate onto those that are sent along, as a second backward() adds to .grad:");
        Object second = post("/v1/gradients", """
            {"graph": %s, "wrt": ["b"], "accumulate": {"b": %s}}"""
            .formatted(graph(TENSORS, OPS), Json.write(at(first, "gradients", "b", "data"))));
        show("b.grad, accumulated", at(second, "gradients", "b", "data"));

        say("What no_grad and detach keep out of the record does not require a gradient:");
        Object third = post("/v1/gradients", """
            {"graph": %s, "backward": "loss"}""".formatted(graph(TENSORS, OPS + ", " + UNTRACKED)));
        for (String name : List.of("z", "z_no_grad", "z_detached")) {
            show(name + ".requires_grad", at(node(third, name), "requires_grad"));
        }

        say("A frozen parameter is a tensor like any other: b gets no gradient when it does not require one.");
        Object fourth = post("/v1/gradients", """
            {"graph": %s, "dag": false}""".formatted(graph(FROZEN, OPS)));
        show("gradients, b frozen", new ArrayList<>(((Map<?, ?>) at(fourth, "gradients")).keySet()));
    }

    static String graph(String tensors, String ops) {
        return "{\"tensors\": {" + tensors + "}, \"ops\": [" + ops + "]}";
    }

    static Object post(String path, String json) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(server + path))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(json))
            .build();
        HttpResponse<String> reply = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
        // A problem document says what is wrong, where in the request, and how to mend it.
        if (reply.statusCode() != 200) throw new IOException(reply.body());
        return Json.read(reply.body());
    }

    /** The node of that name in the reply's DAG. */
    static Object node(Object reply, String name) {
        return ((List<?>) at(reply, "dag", "nodes")).stream()
            .filter(node -> at(node, "name").equals(name)).findFirst().orElseThrow();
    }

    static Object at(Object json, String... path) {
        for (String name : path) json = ((Map<?, ?>) json).get(name);
        return json;
    }

    static void say(String text) {
        System.out.println("# " + text);
    }

    static void show(String name, Object value) {
        System.out.println(name + " = " + Json.write(value));
    }

    /** As much JSON as this page needs: maps, lists, strings without escapes, doubles, booleans and null. */
    static final class Json {
        private static final Pattern TOKEN = Pattern.compile("\\s*([{}\\[\\]:,]|\"[^\"]*\"|[^\\s{}\\[\\]:,]+)");
        private final Matcher tokens;

        private Json(String text) {
            tokens = TOKEN.matcher(text);
        }

        static Object read(String text) {
            Json json = new Json(text);
            return json.value(json.next());
        }

        private String next() {
            if (!tokens.find()) throw new IllegalArgumentException("the JSON ends too early");
            return tokens.group(1);
        }

        private Object value(String token) {
            return switch (token.charAt(0)) {
                case '{' -> object();
                case '[' -> list();
                case '"' -> token.substring(1, token.length() - 1);
                case 't', 'f' -> Boolean.valueOf(token);
                case 'n' -> null;
                default -> Double.valueOf(token);
            };
        }

        private Map<String, Object> object() {
            Map<String, Object> members = new LinkedHashMap<>();
            for (String token = next(); !token.equals("}"); token = next()) {
                if (token.equals(",")) continue;
                next(); // the colon
                members.put((String) value(token), value(next()));
            }
            return members;
        }

        private List<Object> list() {
            List<Object> items = new ArrayList<>();
            for (String token = next(); !token.equals("]"); token = next()) {
                if (!token.equals(",")) items.add(value(token));
            }
            return items;
        }

        static String write(Object value) {
            if (value instanceof Map<?, ?> members) {
                return members.entrySet().stream()
                    .map(member -> write(member.getKey()) + ": " + write(member.getValue()))
                    .collect(Collectors.joining(", ", "{", "}"));
            }
            if (value instanceof List<?> items) {
                return items.stream().map(Json::write).collect(Collectors.joining(", ", "[", "]"));
            }
            return value instanceof String text ? "\"" + text + "\"" : String.valueOf(value);
        }
    }
}
