// The simulated providers as their control API shows them.

import assert from "node:assert/strict";

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export class Providers {
  constructor(control) {
    this.control = control;
  }

  async call(method, path, body) {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(this.control + path, { method, headers, body: body && JSON.stringify(body) });
    assert.equal(answer.status, 200, path);
    return await answer.json();
  }

  /** Every call to the model's provider meets this fault until `act` has ended. */
  async failing(model, fault, more, act) {
    await this.call("POST", "/_control/faults", { provider: model.split("/")[0], fault, ...more });
    try {
      return await act();
    } finally {
      await this.call("DELETE", "/_control/faults");
    }
  }

  async calls(model) {
    return (await this.call("GET", `/_audit/log?provider=${model.split("/")[0]}`)).calls;
  }

  /**
   * The caller that makes a call, and has left it when `leave` returns, is seen to leave within the bound, at one of three times
   * at least: a busy machine may come late.
   */
  async seeLeave(model, leave, withinMs) {
    const late = [];
    while (!late.length || Math.min(...late) > withinMs) {
      assert.ok(late.length < 3, `${model}: the provider sees it ${late} ms after the caller has left`);
      late.push(await this.lateness(model, leave));
    }
  }

  async lateness(model, leave) {
    const before = (await this.calls(model)).length;
    await leave();
    const left = Date.now();
    let calls = [];
    for (const deadline = left + 5000; (calls.at(-1)?.ended_ms ?? null) === null; await sleep(10)) {
      assert.ok(Date.now() < deadline, `${model}: ${JSON.stringify(calls)} go on`);
      calls = (await this.calls(model)).slice(before);
    }
    assert.ok(calls.length === 1 && calls[0].cancelled, `${model}: ${JSON.stringify(calls)}`);
    return calls[0].ended_ms - left;
  }
}
