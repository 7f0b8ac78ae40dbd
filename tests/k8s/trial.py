"""Updates, kills and scales an installation under load. usage: trial.py CHART VALUES

Two kinds of callers, both with the official OpenAI SDK, through the Service:
  200 open streams of a model with ample limits: none may be cut or rejected;
  30 callers of a model with 120 requests per minute: its limit must hold, whatever happens to the replicas.

Prints each check. The first failure ends the program with exit code 1.
"""

import asyncio
import base64
import collections
import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import openai

CHART, VALUES = sys.argv[1:]
SPACE = "llm"
STREAMS = 200
CROWD = 30
WIDE, NARROW = "mistral/mistral-medium-2604", "mistral/mistral-small-2603"
NARROW_RPM = 120
PROMPT = "hello [[tokens=24 size=1 reasoning=0 ttft=100 chunk=800]]"  # a stream of about 20 s
SHORT = "hello [[tokens=2 reasoning=0 ttft=20 chunk=1]]"


def log(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def check(passed, text):
    log(("ok    " if passed else "FAILED ") + text)
    if not passed:
        raise SystemExit(1)


def shell(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def kubectl(*words, check=True):
    return shell("kubectl", "-n", SPACE, *words, check=check)


def got(*words):
    return json.loads(kubectl("get", *words, "-o", "json"))


def helm(*words):
    return shell("helm", "-n", SPACE, *words)


def secret(name, key):
    return base64.b64decode(got("secret", name)["data"][key]).decode()


def pods(component="gateway"):
    """Addresses by name of the pods that are not terminating."""
    found = got("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
    return {
        pod["metadata"]["name"]: pod["status"].get("podIP")
        for pod in found
        if "deletionTimestamp" not in pod["metadata"]
    }


def terminating():
    found = got("pods", "-l", "app.kubernetes.io/component=gateway")["items"]
    return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" in pod["metadata"]]


def ready():
    return got("deployment", "tollfree")["status"].get("readyReplicas", 0)


async def until(what, condition, seconds=180):
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            check(False, f"{what} within {seconds} s")
        await asyncio.sleep(0.5)


def address(service):
    spec = got("service", service)["spec"]
    return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"


def fetch(url, key=None):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return json.load(answer)


class Load:
    """The callers, and the outcome of each request."""

    def __init__(self, base_url, key):
        self.client = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=120)
        self.patient = self.client.with_options(max_retries=3)
        self.over = False
        self.may_retry = False
        self.hold = asyncio.Event()  # cleared: no new streams start
        self.hold.set()
        self.open = {}  # local port by number of the stream
        self.done = 0
        self.failed = []  # (when, what, port)
        self.narrow = collections.Counter()
        self.callers = []

    def start(self):
        self.callers = [asyncio.create_task(self.stream(number)) for number in range(STREAMS)]
        self.callers += [asyncio.create_task(self.crowd(number)) for number in range(CROWD)]

    async def stop(self):
        self.over = True
        await asyncio.gather(*self.callers)

    async def stream(self, number):
        await asyncio.sleep(number * 0.05)  # spread the start
        while not self.over:
            await self.hold.wait()
            client = self.patient if self.may_retry else self.client
            port, text, reason = None, 0, None
            try:
                messages = [{"role": "user", "content": PROMPT}]
                stream = await client.chat.completions.create(model=WIDE, messages=messages, stream=True)
                port = stream.response.extensions["network_stream"].get_extra_info("client_addr")[1]
                self.open[number] = port
                async for chunk in stream:
                    for choice in chunk.choices:
                        text += len(choice.delta.content or "")
                        reason = choice.finish_reason or reason
                if reason != "stop" or not text:
                    raise RuntimeError(f"ended early: {text} characters, finish_reason {reason}")
                self.done += 1
            except openai.APIStatusError as error:
                self.failed.append((time.monotonic(), f"{error.status_code} {error.code}", port))
                await asyncio.sleep(float(error.response.headers.get("retry-after-ms", 1000)) / 1000)
            except Exception as error:  # any other failure of a request
                self.failed.append((time.monotonic(), f"{type(error).__name__}: {error}", port))
                await asyncio.sleep(0.2)
            finally:
                self.open.pop(number, None)

    async def crowd(self, number):
        await asyncio.sleep(number * 0.1)
        messages = [{"role": "user", "content": SHORT}]
        while not self.over:
            pause = 0.1
            try:
                await self.patient.with_options(max_retries=0).chat.completions.create(model=NARROW, messages=messages)
                self.narrow[200] += 1
            except openai.APIStatusError as error:
                self.narrow[error.status_code] += 1
                pause = float(error.response.headers.get("retry-after-ms", 1000)) / 1000
            except openai.APIConnectionError:
                self.narrow["killed" if self.may_retry else "broken"] += 1
            await asyncio.sleep(min(pause, 15) + number * 0.01)

    def since(self, mark):
        return [failure for failure in self.failed if failure[0] >= mark]

    async def full(self):
        await until(f"{STREAMS} streams are open", lambda: len(self.open) >= STREAMS * 0.9, 120)


def ports_of(address):
    """Local ports of the connections to a pod."""
    seen = shell("conntrack", "-L", "-p", "tcp")
    pattern = re.compile(rf"ESTABLISHED src=\S+ dst=\S+ sport=(\d+) dport=\d+ src={re.escape(address)} ")
    return {int(port) for port in pattern.findall(seen)}


def generated():
    return secret("tollfree", "admin-key"), secret("tollfree", "master-key"), secret("tollfree-redis", "redis-password")


def install():
    begin = time.monotonic()
    helm("install", "tollfree", CHART, "--values", VALUES, "--wait", "--timeout", "5m")
    check(ready() == 3, f"installed: 3 replicas ready after {time.monotonic() - begin:.1f} s")
    nodes = {pod["spec"]["nodeName"] for pod in got("pods", "-l", "app.kubernetes.io/component=gateway")["items"]}
    check(nodes == {"node1", "node2"}, f"spread over {sorted(nodes)}")
    helm("test", "tollfree")
    check(True, "helm test")
    before, keys = pods(), generated()
    redis = pods("redis")
    helm("upgrade", "tollfree", CHART, "--values", VALUES, "--wait")
    kept = keys == generated() and len(keys[0]) > 40 and len(keys[1]) >= 32
    check(kept, "an upgrade keeps the generated admin key, the master key and the password of Redis")
    check(pods() == before and pods("redis") == redis, "an upgrade without changes restarts nothing")
    return keys[0]


def smoke(base_url, key):
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    names = [model.id for model in client.models.list()]
    check(names[0] == "free" and WIDE in names, f"the SDK lists {len(names)} models")
    answer = client.chat.completions.create(model="free", messages=[{"role": "user", "content": SHORT}])
    check(bool(answer.choices[0].message.content), "the SDK gets a response")
    try:
        openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0).models.list()
        check(False, "a wrong key is rejected")
    except openai.AuthenticationError:
        check(True, "a wrong key is rejected")


async def check_nothing_lost(load, mark, what):
    """Waits until terminating pods are gone and checks that no stream was lost."""
    await until("the old pods are gone", lambda: not terminating(), 400)
    lost = load.since(mark)
    check(not lost, f"{what}: {load.done} streams complete so far, {len(lost)} lost {lost[:3]}")


async def rolling_update(load):
    await load.full()
    mark, begin, before = time.monotonic(), time.monotonic(), set(pods())
    upgrade = ("upgrade", "tollfree", CHART, "--values", VALUES, "--set", "podAnnotations.trial=two", "--wait", "--timeout", "8m")
    await asyncio.to_thread(helm, *upgrade)
    log(f"      updated in {time.monotonic() - begin:.1f} s, {len(terminating())} are finishing their streams")
    check(not before & set(pods()), "every pod is new")
    await check_nothing_lost(load, mark, "rolling update under 200 streams")


async def kill(load):
    await load.full()
    name, victim = next(iter(pods().items()))
    load.may_retry = True
    mark = time.monotonic()
    on_it = await asyncio.to_thread(ports_of, victim)
    theirs = {port for port in load.open.values() if port in on_it}
    uid = got("pod", name)["metadata"]["uid"]
    pid = next(int(entry) for entry in os.listdir("/proc") if entry.isdigit() and is_program_of(int(entry), uid))
    on_it |= ports_of(victim)
    os.kill(pid, 9)
    log(f"      killed {name} with {len(theirs)} streams on it")
    await asyncio.sleep(1)
    await until("it is ready again", lambda: ready() == 3)
    await asyncio.sleep(3)
    lost = load.since(mark)
    others = [failure for failure in lost if failure[2] not in on_it]
    check(not others, f"pod killed: {len(lost)} of its streams lost; {len(others)} others {others[:3]}")
    check(len(lost) >= len(theirs) // 2 > 0, "the killed pod had streams")
    load.may_retry = False


def is_program_of(pid, uid):
    """Whether a process is the gateway of a pod."""
    try:
        with open(f"/proc/{pid}/cgroup") as cgroup, open(f"/proc/{pid}/cmdline", "rb") as line:
            return uid in cgroup.read().replace("_", "-") and b"tollfree" in line.read()
    except OSError:
        return False


async def scale(load):
    for count in (2, 5, 2):
        await load.full()
        mark, begin = time.monotonic(), time.monotonic()
        change = ("upgrade", "tollfree", CHART, "--values", VALUES, "--set", f"podAnnotations.trial=two,replicaCount={count}", "--wait")
        await asyncio.to_thread(helm, *change)
        await until(f"{count} replicas are ready", lambda count=count: ready() == count and len(pods()) == count)
        log(f"      {count} replicas after {time.monotonic() - begin:.1f} s")
        await check_nothing_lost(load, mark, f"scaled to {count}")
        if count == 5:
            tried = await asyncio.to_thread(helm, *change[:5], "--set", "autoscaling.enabled=true", "--dry-run=server")
            check("replicas: 5\n" in tried, "with an autoscaler an upgrade keeps the current number of replicas")


def used_of_the_day(key, base_url):
    providers = fetch(f"{base_url}/status", key)["providers"]
    limits = next(provider for provider in providers if provider["id"] == "mistral")["limits"]
    return next(limit["used"] for limit in limits if limit["model"] in WIDE and limit["limit"] == "rpd")


async def redis_deleted(load, key, base_url, providers):
    await load.full()
    before, _ = await counts(load, key, base_url, providers)
    mark, begin = time.monotonic(), time.monotonic()
    await asyncio.to_thread(kubectl, "delete", "pod", "tollfree-redis-0", "--wait=false")
    await asyncio.sleep(2)
    redis = lambda: got("statefulset", "tollfree-redis")["status"].get("readyReplicas", 0) == 1
    await until("Redis is ready", redis)
    back = time.monotonic()
    done = load.done
    await until("new streams start", lambda: load.done > done, 60)
    lost = [failure for failure in load.since(mark) if not failure[1].startswith("503 ledger_unavailable")]
    rejected = len(load.since(mark)) - len(lost)
    last = max((failure[0] for failure in load.since(mark)), default=back)
    log(f"      Redis was not ready for {back - begin:.1f} s; {rejected} requests were rejected, the last {last - back:+.1f} s after its return")
    check(not lost, f"Redis deleted: no open stream was cut, {len(lost)} lost {lost[:3]}")
    check(last - back < 3, "rejections end with its return")
    after, sent = await counts(load, key, base_url, providers)
    check(after >= before > 0, f"counts were restored from its file: {before} requests of the day before, {after} after")
    check(after >= sent, f"no count is missing: the provider received {sent} requests, {after} are counted")


async def counts(load, key, base_url, providers):
    """Requests counted for the day and received by the provider, while no new request starts, so that both are comparable."""
    load.hold.clear()
    await asyncio.sleep(3)
    models = fetch(f"{providers}/_audit")["providers"]["mistral"]["accounts"]["main"]
    used = await asyncio.to_thread(used_of_the_day, key, base_url)
    load.hold.set()
    await asyncio.sleep(1)
    return used, models[WIDE.split("/")[1]]["tally"]["admitted"]


def check_limits(providers, load):
    models = fetch(f"{providers}/_audit")["providers"]["mistral"]["accounts"]["main"]
    for model in (WIDE, NARROW):
        seen = models[model.split("/")[1]]
        window = seen["windows"]["rpm"]
        refused = sum(seen["tally"]["refused"].values())
        text = f"{model}: {window['most_in_any_span']} of {window['limit']} in the busiest minute, {refused} rejected by the provider"
        check(window["over"] <= 0 and refused == 0, text)
    log(f"      responses to the callers of {NARROW_RPM} requests per minute: {dict(load.narrow)}")
    check(load.narrow["broken"] == 0, "no connection of a waiting caller was broken, except those to the killed pod")


async def main():
    begin = time.monotonic()
    key = await asyncio.to_thread(install)
    base_url, providers = address("tollfree") + "/v1", address("providers")
    await asyncio.to_thread(smoke, base_url, key)
    load = Load(base_url, key)
    load.start()
    await rolling_update(load)
    await kill(load)
    await scale(load)
    await redis_deleted(load, key, base_url, providers)
    await load.stop()
    check_limits(providers, load)
    helm("uninstall", "tollfree", "--wait")
    check(not pods() and not pods("redis"), "uninstalled")
    log(f"finished in {time.monotonic() - begin:.0f} s, {load.done} streams complete")


asyncio.run(main())
