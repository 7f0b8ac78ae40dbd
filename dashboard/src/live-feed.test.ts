import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LiveFeed } from "./live-feed";
import { errorResponse } from "../tests/render";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A stream that the test writes to and ends. */
function stream() {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) });
  return {
    response: new Response(body),
    write: (text: string) => controller.enqueue(new TextEncoder().encode(text)),
    end: () => controller.close(),
  };
}

test("it delivers budgets and requests, and resumes after the last event", async () => {
  const [first, second] = [stream(), stream()];
  const fetched = vi
    .spyOn(globalThis, "fetch")
    .mockResolvedValueOnce(first.response)
    .mockResolvedValueOnce(second.response);
  const budgets: unknown[] = [];
  const requests: unknown[] = [];
  const feed = new LiveFeed((budget) => budgets.push(budget));
  feed.onRequest((record) => requests.push(record));
  feed.start();
  await vi.advanceTimersByTimeAsync(10);
  expect(feed.get().mode).toBe("live");
  first.write('event: budget\ndata: {"replicas":2}\n\nevent: request\nid: 9-1\ndata: {"id":"r"}\n\n');
  await vi.advanceTimersByTimeAsync(10);
  expect([budgets, requests]).toEqual([[{ replicas: 2 }], [{ id: "r" }]]);

  first.end();
  await vi.advanceTimersByTimeAsync(10);
  expect(feed.get().mode).toBe("polling");
  await vi.advanceTimersByTimeAsync(1_100);
  expect(feed.get().mode).toBe("live");
  expect((fetched.mock.calls[1]?.[0] as Request).headers.get("last-event-id")).toBe("9-1");
  feed.stop();
});

test("without the stream the mode is polling while polls succeed, then stale", async () => {
  vi.spyOn(globalThis, "fetch").mockImplementation(() =>
    Promise.resolve(errorResponse(503, "ledger_unavailable", "unavailable")),
  );
  const feed = new LiveFeed(() => {});
  feed.start();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(feed.get().mode).toBe("polling");
  for (let polls = 0; polls < 10; polls += 1) {
    feed.markUpdated();
    await vi.advanceTimersByTimeAsync(3_000);
  }
  expect(feed.get().mode).toBe("polling");
  await vi.advanceTimersByTimeAsync(16_000);
  expect(feed.get().mode).toBe("stale");
  feed.markUpdated();
  expect(feed.get().mode).toBe("polling");
  feed.stop();
});

test("a silent stream is closed and reopened", async () => {
  const silent = stream();
  const fetched = vi
    .spyOn(globalThis, "fetch")
    .mockResolvedValueOnce(silent.response)
    .mockImplementation(() => new Promise(() => {}));
  const feed = new LiveFeed(() => {});
  feed.start();
  await vi.advanceTimersByTimeAsync(20_000);
  expect(feed.get().mode).toBe("live");
  await vi.advanceTimersByTimeAsync(8_000);
  expect(feed.get().mode).toBe("stale");
  expect(fetched).toHaveBeenCalledTimes(2);
  feed.stop();
});
