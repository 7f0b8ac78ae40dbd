//! Tools that are configured by hand: what to enter where. Shown by the page `/setup`, the dashboard and `docs/clients.md`.

/// A tool without a file that a program should write.
pub(crate) struct Other {
    pub id: &'static str,
    pub name: &'static str,
    /// With `{root}`, `{v1}` and `{key}` for the address, the same with `/v1`, and the key.
    pub text: &'static str,
    /// Whether it was run against a gateway with exactly these settings.
    pub is_tried: bool,
}

/// The text with the gateway's address and a key.
pub(crate) fn filled(text: &str, root: &str, key: &str) -> String {
    text.replace("{root}", root).replace("{v1}", &format!("{root}/v1")).replace("{key}", key)
}

pub(crate) static OTHERS: [Other; 13] = [
    Other {
        id: "cline",
        name: "Cline",
        text: "API Provider   OpenAI Compatible
Base URL       {v1}
API Key        {key}
Model ID       free-smart
Context Window and Max Output Tokens: those of the model, see {v1}/models",
        is_tried: false,
    },
    Other {
        id: "roo-code",
        name: "Roo Code",
        text: "API Provider   OpenAI Compatible
Base URL       {v1}
API Key        {key}
Model          free-smart",
        is_tried: false,
    },
    Other {
        id: "kilo-code",
        name: "Kilo Code",
        text: "API Provider   OpenAI Compatible
Base URL       {v1}
API Key        {key}
Model          free-smart",
        is_tried: false,
    },
    Other {
        id: "open-webui",
        name: "Open WebUI",
        text: "docker run -d -p 8080:8080 \\
  -e OPENAI_API_BASE_URL={v1} \\
  -e OPENAI_API_KEY={key} \\
  ghcr.io/open-webui/open-webui:main",
        is_tried: false,
    },
    Other {
        id: "librechat",
        name: "LibreChat",
        text: "# librechat.yaml; the key is in TOLLFREE_CLIENT_KEY of .env
version: 1.2.1
endpoints:
  custom:
    - name: Tollfree
      apiKey: ${TOLLFREE_CLIENT_KEY}
      baseURL: {v1}
      models:
        default: [free-smart, free-fast, free]
        fetch: true
      titleConvo: true
      titleModel: free-fast",
        is_tried: false,
    },
    Other {
        id: "n8n",
        name: "n8n",
        text: "Credentials → OpenAI
API Key        {key}
Base URL       {v1}
In the node `OpenAI Chat Model`: choose the model by its id, such as free-smart",
        is_tried: false,
    },
    Other {
        id: "langchain",
        name: "LangChain",
        text: "from langchain_openai import ChatOpenAI

model = ChatOpenAI(model=\"free-smart\", base_url=\"{v1}\", api_key=\"{key}\")
print(model.invoke(\"Hello\").content)",
        is_tried: true,
    },
    Other {
        id: "llamaindex",
        name: "LlamaIndex",
        text: "from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(model=\"free-smart\", api_base=\"{v1}\", api_key=\"{key}\", is_chat_model=True)
print(model.complete(\"Hello\"))",
        is_tried: true,
    },
    Other {
        id: "ai-sdk",
        name: "Vercel AI SDK",
        text: "import { createOpenAICompatible } from \"@ai-sdk/openai-compatible\";
import { streamText } from \"ai\";

const tollfree = createOpenAICompatible({ name: \"tollfree\", baseURL: \"{v1}\", apiKey: \"{key}\" });
const { textStream } = streamText({ model: tollfree(\"free\"), prompt: \"Hello\" });
for await (const text of textStream) process.stdout.write(text);",
        is_tried: true,
    },
    Other {
        id: "vs-code",
        name: "VS Code",
        text: "Chat: Manage Language Models → Add Models → OpenAI Compatible (or Custom Endpoint)
URL            {v1}/chat/completions
API Key        {key}
Model          free-smart
With Continue or Cline instead: see there.",
        is_tried: false,
    },
    Other {
        id: "jetbrains",
        name: "JetBrains",
        text: "Settings → Tools → AI Assistant → Models & API keys → OpenAI-compatible
URL            {v1}
API key        {key}
Model          free-smart",
        is_tried: false,
    },
    Other {
        id: "cursor",
        name: "Cursor",
        text: "Cursor calls from its own servers, so that it cannot reach an address of a private network.
Only with a gateway on the public Internet, under TLS: Settings → Models → API Keys
Override OpenAI Base URL   {v1}
OpenAI API Key             {key}
Add model                  free-smart",
        is_tried: false,
    },
    Other {
        id: "environment",
        name: "Any OpenAI SDK",
        text: "export OPENAI_BASE_URL={v1}
export OPENAI_API_KEY={key}",
        is_tried: true,
    },
];
