import { expect, test } from "vitest";
import { readEvents, type SseEvent } from "./sse";

async function read(...chunks: string[]) {
  const events: SseEvent[] = [];
  const comments: string[] = [];
  let received = 0;
  const body = new Response(
    new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
        controller.close();
      },
    }),
  ).body!;
  const handlers = { onChunk: () => (received += 1), onComment: (comment: string) => comments.push(comment) };
  for await (const event of readEvents(body, handlers)) events.push(event);
  return { events, comments, received };
}

test("an event may be split over chunks and use any line ending", async () => {
  const { events } = await read(
    "event: bud",
    'get\ndata: {"a":',
    "1}\nid: 7-0\n",
    "\ndata: x\r\n\r\n",
    "data: a\ndata: b\n\n",
  );
  expect(events).toEqual([
    { event: "budget", data: '{"a":1}', id: "7-0" },
    { event: "message", data: "x", id: null },
    { event: "message", data: "a\nb", id: null },
  ]);
});

test("a comment is reported, and is not an event", async () => {
  const { events, comments, received } = await read(": keep-alive\n\n", ":x-tollfree-model=groq/m\n\n");
  expect({ events, comments, received }).toEqual({
    events: [],
    comments: ["keep-alive", "x-tollfree-model=groq/m"],
    received: 2,
  });
});

test("an event that is cut off is dropped", async () => {
  expect((await read("data: complete\n\ndata: ha")).events).toEqual([{ event: "message", data: "complete", id: null }]);
});
