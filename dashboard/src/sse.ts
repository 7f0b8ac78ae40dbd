export interface Event {
  event: string;
  data: string;
  id: string | null;
}

/** Server-sent events of a body. `heard` is told of every chunk: a keep-alive comment is a sign of life, too. */
export async function* events(
  body: ReadableStream<Uint8Array>,
  heard: () => void = () => {},
  commented: (comment: string) => void = () => {},
): AsyncGenerator<Event> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  let lines: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      rest += value;
      const parts = rest.split(/\r\n|\n|\r(?!$)/);
      rest = parts.pop() ?? "";
      for (const line of parts) {
        if (line.startsWith(":")) commented(line.slice(1).trim());
        else if (line !== "") lines.push(line);
        else {
          const event = eventOf(lines);
          lines = [];
          if (event) yield event;
        }
      }
    }
  } finally {
    void reader.cancel().catch(() => {});
  }
}

function eventOf(lines: string[]): Event | null {
  let event = "message";
  let id: string | null = null;
  const data: string[] = [];
  for (const line of lines) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event = value;
    else if (field === "data") data.push(value);
    else if (field === "id") id = value;
  }
  return data.length > 0 ? { event, data: data.join("\n"), id } : null;
}
