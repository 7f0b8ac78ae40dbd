// The official SDK for Go. Usage: loop BASE_URL MODELS_JSON. See ../loop.py.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

var questions = []string{"What is the weather in Paris?", "And tomorrow?"}

type report struct {
	Model  string `json:"model"`
	Stream bool   `json:"stream"`
	Input  int64  `json:"input"`
	Output int64  `json:"output"`
}

func fail(format string, values ...any) {
	fmt.Printf(format+"\n", values...)
	os.Exit(1)
}

// ask sends the history once and returns the message and its usage.
func ask(client *openai.Client, params openai.ChatCompletionNewParams, stream bool) (openai.ChatCompletionMessage, openai.CompletionUsage, error) {
	ctx := context.Background()
	if !stream {
		answer, err := client.Chat.Completions.New(ctx, params)
		if err != nil {
			return openai.ChatCompletionMessage{}, openai.CompletionUsage{}, err
		}
		return answer.Choices[0].Message, answer.Usage, nil
	}
	params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	chunks := client.Chat.Completions.NewStreaming(ctx, params)
	accumulated := openai.ChatCompletionAccumulator{}
	for chunks.Next() {
		if !accumulated.AddChunk(chunks.Current()) {
			return openai.ChatCompletionMessage{}, openai.CompletionUsage{}, fmt.Errorf("a chunk does not continue the others")
		}
	}
	if chunks.Err() != nil {
		return openai.ChatCompletionMessage{}, openai.CompletionUsage{}, chunks.Err()
	}
	return accumulated.Choices[0].Message, accumulated.Usage, nil
}

func loop(client *openai.Client, model string, stream bool) (report, error) {
	counted := report{Model: model, Stream: stream}
	params := openai.ChatCompletionNewParams{
		Model: model,
		Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name:        "get_weather",
			Description: openai.String("The weather of a city"),
			Parameters: openai.FunctionParameters{
				"type": "object", "properties": map[string]any{"city": map[string]string{"type": "string"}}, "required": []string{"city"},
			},
		})},
	}
	next := func() (openai.ChatCompletionMessage, error) {
		message, usage, err := ask(client, params, stream)
		counted.Input += usage.PromptTokens
		counted.Output += usage.CompletionTokens
		if err == nil {
			params.Messages = append(params.Messages, message.ToParam())
		}
		return message, err
	}
	for turn, question := range questions {
		result := fmt.Sprintf("%d degrees", 20+turn)
		params.Messages = append(params.Messages, openai.UserMessage(question))
		message, err := next()
		if err != nil {
			return counted, err
		}
		if len(message.ToolCalls) == 0 {
			return counted, fmt.Errorf("no call: %s", message.RawJSON())
		}
		for _, call := range message.ToolCalls {
			var arguments struct{ City string }
			if err := json.Unmarshal([]byte(call.Function.Arguments), &arguments); err != nil || arguments.City == "" {
				return counted, fmt.Errorf("the arguments are `%s`", call.Function.Arguments)
			}
			params.Messages = append(params.Messages, openai.ToolMessage(result, call.ID))
		}
		if message, err = next(); err != nil {
			return counted, err
		}
		if !strings.Contains(message.Content, result) {
			return counted, fmt.Errorf("no result of the tool in the answer: `%s`", message.Content)
		}
	}
	return counted, nil
}

func main() {
	client := openai.NewClient(option.WithBaseURL(os.Args[1]), option.WithAPIKey("anything"), option.WithMaxRetries(0))
	var models []string
	if err := json.Unmarshal([]byte(os.Args[2]), &models); err != nil {
		fail("the models: %v", err)
	}
	for _, model := range models {
		for _, stream := range []bool{false, true} {
			counted, err := loop(&client, model, stream)
			if err != nil {
				fail("%s, stream %v: %v", model, stream, err)
			}
			line, _ := json.Marshal(counted)
			fmt.Println(string(line))
		}
	}
	fmt.Println("all loops passed")
}
