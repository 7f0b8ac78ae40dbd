import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.core.JsonValue;
import com.openai.helpers.ChatCompletionAccumulator;
import com.openai.models.FunctionDefinition;
import com.openai.models.FunctionParameters;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.chat.completions.ChatCompletionMessage;
import com.openai.models.chat.completions.ChatCompletionStreamOptions;
import com.openai.models.chat.completions.ChatCompletionToolMessageParam;
import java.util.List;
import java.util.Map;

/** The official SDK for Java. Usage: Loop BASE_URL MODELS_JSON. See ../../../../loop.py. */
public final class Loop {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final List<String> QUESTIONS = List.of("What is the weather in Paris?", "And tomorrow?");

  private final OpenAIClient client;
  private final String model;
  private final boolean stream;
  private final ChatCompletionCreateParams.Builder params;
  private long input;
  private long output;

  private Loop(OpenAIClient client, String model, boolean stream) {
    this.client = client;
    this.model = model;
    this.stream = stream;
    FunctionParameters parameters =
        FunctionParameters.builder()
            .putAdditionalProperty("type", JsonValue.from("object"))
            .putAdditionalProperty("properties", JsonValue.from(Map.of("city", Map.of("type", "string"))))
            .putAdditionalProperty("required", JsonValue.from(List.of("city")))
            .build();
    FunctionDefinition weather =
        FunctionDefinition.builder().name("get_weather").description("The weather of a city").parameters(parameters).build();
    params = ChatCompletionCreateParams.builder().model(model).addFunctionTool(weather);
    if (stream) {
      params.streamOptions(ChatCompletionStreamOptions.builder().includeUsage(true).build());
    }
  }

  /** Sends the history once. The validation refuses values that OpenAI does not have. */
  private ChatCompletionMessage ask() {
    ChatCompletion answer;
    if (stream) {
      ChatCompletionAccumulator accumulated = ChatCompletionAccumulator.create();
      try (var chunks = client.chat().completions().createStreaming(params.build())) {
        chunks.stream().forEach(chunk -> accumulated.accumulate(chunk.validate()));
      }
      answer = accumulated.chatCompletion();
    } else {
      answer = client.chat().completions().create(params.build()).validate();
    }
    input += answer.usage().orElseThrow().promptTokens();
    output += answer.usage().orElseThrow().completionTokens();
    ChatCompletionMessage message = answer.choices().get(0).message();
    params.addMessage(message);
    return message;
  }

  private void run() throws Exception {
    for (int turn = 0; turn < QUESTIONS.size(); turn++) {
      String result = (20 + turn) + " degrees";
      params.addUserMessage(QUESTIONS.get(turn));
      ChatCompletionMessage called = ask();
      var calls = called.toolCalls().orElse(List.of());
      check(!calls.isEmpty(), "no call: " + called);
      for (var call : calls) {
        var function = call.asFunction();
        JsonNode arguments = JSON.readTree(function.function().arguments());
        check(arguments.hasNonNull("city"), "the arguments are " + arguments);
        params.addMessage(ChatCompletionToolMessageParam.builder().toolCallId(function.id()).content(result).build());
      }
      String text = ask().content().orElse("");
      check(text.contains(result), "no result of the tool in the answer: " + text);
    }
    Map<String, Object> line = Map.of("model", model, "stream", stream, "input", input, "output", output);
    System.out.println(JSON.writeValueAsString(line));
  }

  private static void check(boolean holds, String message) {
    if (!holds) {
      throw new IllegalStateException(message);
    }
  }

  public static void main(String[] arguments) throws Exception {
    OpenAIClient client = OpenAIOkHttpClient.builder().baseUrl(arguments[0]).apiKey("anything").maxRetries(0).build();
    for (JsonNode model : JSON.readTree(arguments[1])) {
      for (boolean stream : new boolean[] {false, true}) {
        try {
          new Loop(client, model.asText(), stream).run();
        } catch (Exception error) {
          System.out.println(model.asText() + ", stream " + stream + ": " + error);
          throw error;
        }
      }
    }
    System.out.println("all loops passed");
    System.exit(0);
  }
}
