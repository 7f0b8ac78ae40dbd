import { createParser } from "eventsource-parser";

export interface SseEvent {
  event: string;
  data: string;
  id: string | null;
}

interface Handlers {
  /** Called for every chunk, so that a keep-alive comment counts as a sign of life. */
  onChunk?: () => void;
  onComment?: (comment: string) => void;
}

/** The server-sent events of a response body. */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  { onChunk, onComment }: Handlers = {},
): AsyncGenerator<SseEvent> {
  const parsed: SseEvent[] = [];
  const parser = createParser({
    onEvent: ({ event = "message", data, id = null }) => parsed.push({ event, data, id }),
    onComment,
  });
  const decoder = new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>;
  const reader = body.pipeThrough(decoder).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onChunk?.();
      parser.feed(value);
      yield* parsed.splice(0);
    }
  } finally {
    void reader.cancel().catch(() => {});
  }
}
