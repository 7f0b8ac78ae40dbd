/** Browser features that jsdom lacks, and a clean state for every test. */
import { cleanup, configure } from "@testing-library/react";
import { afterEach, beforeEach, vi } from "vitest";
import { session } from "../src/api";
import { queryClient } from "../src/queries";

// A busy machine is slow. A long timeout only delays the report of an element that never appears.
configure({ asyncUtilTimeout: 15_000, getElementError: (message) => new Error(message ?? "not found") });

class Observer {
  observe() {}
  unobserve() {}
  disconnect() {}
}

const media = (query: string) => ({
  matches: false,
  media: query,
  onchange: null,
  addEventListener() {},
  removeEventListener() {},
  addListener() {},
  removeListener() {},
  dispatchEvent: () => false,
});

vi.stubGlobal("ResizeObserver", Observer);
vi.stubGlobal("IntersectionObserver", Observer);
vi.stubGlobal("matchMedia", media);
Object.defineProperty(document, "fonts", { configurable: true, value: new EventTarget() });
window.scrollTo = () => {};
Element.prototype.scrollIntoView = () => {};
HTMLElement.prototype.showPopover = function () {
  this.dataset.open = "true";
};
HTMLElement.prototype.hidePopover = function () {
  delete this.dataset.open;
};
// Virtual lists render rows only in a window that has a size.
Object.defineProperty(HTMLElement.prototype, "offsetHeight", { configurable: true, get: () => 600 });
Object.defineProperty(HTMLElement.prototype, "offsetWidth", { configurable: true, get: () => 1000 });

beforeEach(() => {
  window.history.replaceState(null, "", "/dashboard/");
  queryClient.setDefaultOptions({ queries: { ...queryClient.getDefaultOptions().queries, retry: false } });
  session.set({ csrf: "c5f", expires_at: new Date(Date.now() + 3_600_000).toISOString() });
});
afterEach(() => {
  cleanup();
  queryClient.clear();
  vi.restoreAllMocks();
});
