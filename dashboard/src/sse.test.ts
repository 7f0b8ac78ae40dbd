import { expect, test } from "vitest";
import { events, type Event } from "./sse";

async function read(...chunks: string[]) {
  const found: Event[] = [];
  const comments: string[] = [];
  let heard = 0;
  const body = new Response(
    new ReadableStream<Uint8Array>({
      start(controller) {
        for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
        controller.close();
      },
    }),
  ).body!;
  for await (const event of events(
    body,
    () => (heard += 1),
    (comment) => comments.push(comment),
  ))
    found.push(event);
  return { found, comments, heard };
}

test("an event may come in pieces, and with any line end", async () => {
  const { found } = await read(
    "event: bud",
    'get\ndata: {"a":',
    "1}\nid: 7-0\n",
    "\ndata: x\r\n\r\n",
    "data: a\ndata: b\n\n",
  );
  expect(found).toEqual([
    { event: "budget", data: '{"a":1}', id: "7-0" },
    { event: "message", data: "x", id: null },
    { event: "message", data: "a\nb", id: null },
  ]);
});

test("a keep-alive is heard, and is no event", async () => {
  const { found, comments, heard } = await read(": keep-alive\n\n", ":x-tollfree-model=groq/m\n\n");
  expect({ found, comments, heard }).toEqual({
    found: [],
    comments: ["keep-alive", "x-tollfree-model=groq/m"],
    heard: 2,
  });
});

test("what is cut off is not an event", async () => {
  expect((await read("data: whole\n\ndata: ha")).found).toEqual([{ event: "message", data: "whole", id: null }]);
});
