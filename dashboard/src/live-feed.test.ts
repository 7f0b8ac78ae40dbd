import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Live } from "./live-feed";
import { refused } from "../tests/render";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A stream that says what it is told, until it is ended. */
function stream() {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({ start: (given) => void (controller = given) });
  return {
    response: new Response(body),
    say: (text: string) => controller.enqueue(new TextEncoder().encode(text)),
    end: () => controller.close(),
  };
}

test("it tells of budgets and requests, and where to go on after a break", async () => {
  const [first, second] = [stream(), stream()];
  const fetched = vi
    .spyOn(globalThis, "fetch")
    .mockResolvedValueOnce(first.response)
    .mockResolvedValueOnce(second.response);
  const budgets: unknown[] = [];
  const requests: unknown[] = [];
  const live = new Live((budget) => budgets.push(budget));
  live.onRequest((record) => requests.push(record));
  live.start();
  await vi.advanceTimersByTimeAsync(10);
  expect(live.get().mode).toBe("live");
  first.say('event: budget\ndata: {"replicas":2}\n\nevent: request\nid: 9-1\ndata: {"id":"r"}\n\n');
  await vi.advanceTimersByTimeAsync(10);
  expect([budgets, requests]).toEqual([[{ replicas: 2 }], [{ id: "r" }]]);

  first.end();
  await vi.advanceTimersByTimeAsync(10);
  expect(live.get().mode).toBe("polling");
  await vi.advanceTimersByTimeAsync(1_100);
  expect(live.get().mode).toBe("live");
  expect(new Headers(fetched.mock.calls[1]?.[1]?.headers).get("last-event-id")).toBe("9-1");
  live.stop();
});

test("without the stream it is polling while polls are answered, then stale", async () => {
  vi.spyOn(globalThis, "fetch").mockImplementation(() => Promise.resolve(refused(503, "ledger_unavailable", "away")));
  const live = new Live(() => {});
  live.start();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(live.get().mode).toBe("polling");
  for (let polls = 0; polls < 10; polls += 1) {
    live.heard();
    await vi.advanceTimersByTimeAsync(3_000);
  }
  expect(live.get().mode).toBe("polling");
  await vi.advanceTimersByTimeAsync(16_000);
  expect(live.get().mode).toBe("stale");
  live.heard();
  expect(live.get().mode).toBe("polling");
  live.stop();
});

test("a stream that has fallen silent is given up", async () => {
  const silent = stream();
  const fetched = vi
    .spyOn(globalThis, "fetch")
    .mockResolvedValueOnce(silent.response)
    .mockImplementation(() => new Promise(() => {}));
  const live = new Live(() => {});
  live.start();
  await vi.advanceTimersByTimeAsync(20_000);
  expect(live.get().mode).toBe("live");
  await vi.advanceTimersByTimeAsync(8_000);
  expect(live.get().mode).toBe("stale");
  expect(fetched).toHaveBeenCalledTimes(2);
  live.stop();
});
