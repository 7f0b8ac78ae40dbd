/** What jsdom lacks of a browser, and a fresh start for every test. */
import { cleanup, configure } from "@testing-library/react";
import { afterEach, beforeEach, vi } from "vitest";
import { session } from "../src/api";
import { queries } from "../src/queries";

// A busy machine is slow; what does not come at all is told just as well a little later.
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
// A window of a size, so that virtual lists have rows to show.
Object.defineProperty(HTMLElement.prototype, "offsetHeight", { configurable: true, get: () => 600 });
Object.defineProperty(HTMLElement.prototype, "offsetWidth", { configurable: true, get: () => 1000 });

beforeEach(() => {
  window.history.replaceState(null, "", "/dashboard/");
  queries.setDefaultOptions({ queries: { ...queries.getDefaultOptions().queries, retry: false } });
  session.set({ csrf: "c5f", expires_at: new Date(Date.now() + 3_600_000).toISOString() });
});
afterEach(() => {
  cleanup();
  queries.clear();
  vi.restoreAllMocks();
});
