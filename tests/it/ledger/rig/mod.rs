//! `TestLedger`: one replica that calls the real scripts strictly as their headers describe.

mod state_copy;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use bytes::Bytes;
use tollfree::ledger::{
    engine::Reply,
    keys::{Key, Keys},
    scripts::Script,
};

pub(super) use self::state_copy::StateCopy;
use super::engines::{Bench, Simulated};
pub(super) use super::model::*;

/// State that all replicas of a test share: the engine, its clock, and every window used so far.
struct Common {
    bench: Box<dyn Bench>,
    now_us: Cell<i64>,
    ids: Cell<u64>,
    epochs: Cell<u64>,
    /// Windows of candidates.
    seen: RefCell<BTreeMap<Key, Win>>,
    clients: RefCell<BTreeSet<Key>>,
    leases: RefCell<BTreeSet<String>>,
    /// Places in the wait queue by ticket, as the last reply named them.
    places: RefCell<BTreeMap<String, String>>,
    shares: RefCell<BTreeSet<Key>>,
}

/// One replica. A second one on the same host: [`TestLedger::another`].
pub(super) struct TestLedger {
    common: Rc<Common>,
    keys: Keys,
    pub epoch: String,
    pub seq: i64,
}

fn words<const N: usize>(words: [String; N]) -> Vec<Bytes> {
    words.into_iter().map(Bytes::from).collect()
}

impl TestLedger {
    /// A fresh embedded store at [`START_MS`], opened by its first `sync`.
    pub(super) fn new() -> Self {
        Self::on(Box::new(Simulated::new()))
    }

    pub(super) fn on(bench: Box<dyn Bench>) -> Self {
        bench.set_clock(START_MS * 1000);
        let common = Common {
            bench,
            now_us: Cell::new(START_MS * 1000),
            ids: Cell::new(0),
            epochs: Cell::new(0),
            seen: RefCell::default(),
            clients: RefCell::default(),
            leases: RefCell::default(),
            places: RefCell::default(),
            shares: RefCell::default(),
        };
        let mut first = Self::replica(Rc::new(common));
        first.sync();
        first
    }

    fn replica(common: Rc<Common>) -> Self {
        Self { common, keys: Keys::new("judge"), epoch: String::new(), seq: 0 }
    }

    /// Another replica on the same engine, without an epoch.
    pub(super) fn another(&self) -> Self {
        Self::replica(self.common.clone())
    }

    pub(super) fn now_us(&self) -> i64 {
        self.common.now_us.get()
    }

    pub(super) fn now(&self) -> i64 {
        self.now_us() / 1000
    }

    pub(super) fn set_us(&self, us: i64) {
        self.common.now_us.set(us);
        self.common.bench.set_clock(us);
    }

    /// Moves the clock to an instant in ms.
    pub(super) fn at(&self, ms: i64) {
        self.set_us(ms * 1000);
    }

    pub(super) fn pass(&self, ms: i64) {
        self.set_us(self.now_us() + ms * 1000);
    }

    pub(super) fn flush(&self) {
        self.common.bench.flush();
        self.common.bench.set_clock(self.now_us());
    }

    pub(super) fn run(&self, script: Script, keys: &[Key], args: &[Bytes]) -> Reply {
        self.common.bench.run(script, keys, args)
    }

    pub(super) fn eval(&self, text: &str, key: &str) -> Reply {
        self.common.bench.eval(text, &[Key::from(key)], &[])
    }

    pub(super) fn client_key(&self, client: &TestClient, w: &Win) -> Key {
        self.keys.client_window(&client.id, w.limit)
    }

    /// Keys of a client's windows and of candidates', in the order of every script.
    fn window_keys(&self, client: &TestClient, cands: &[&Cand]) -> Vec<Key> {
        let heads = (!client.windows.is_empty()).then(|| self.keys.client_heads(&client.id));
        let mut list: Vec<Key> = heads.into_iter().collect();
        list.extend(client.windows.iter().map(|w| self.client_key(client, w)));
        self.common.clients.borrow_mut().extend(list.iter().cloned());
        for cand in cands {
            list.extend(self.candidate_keys(cand));
        }
        list
    }

    fn candidate_keys(&self, cand: &Cand) -> Vec<Key> {
        let mut seen = self.common.seen.borrow_mut();
        let named = |w: &Win| {
            let key = cand.window_key(w);
            seen.insert(key.clone(), w.clone());
            key
        };
        cand.windows.iter().map(named).collect()
    }

    fn shares_key(&self, cand: &Cand) -> Key {
        let key = cand.shares_key();
        self.common.shares.borrow_mut().insert(key.clone());
        key
    }

    pub(super) fn fresh_id(&self) -> String {
        self.common.ids.set(self.common.ids.get() + 1);
        format!("lease{:04}", self.common.ids.get())
    }

    /// Requests the first candidate that has room, for one unit of each of the client's own windows.
    pub(super) fn admit(&mut self, client: &TestClient, choices: &[(&Cand, &[i64])]) -> Admit {
        let id = self.fresh_id();
        self.admit_as(&id, client, choices)
    }

    /// A request to one candidate, by a client without limits.
    pub(super) fn request(&mut self, cand: &Cand, units: &[i64]) -> Admit {
        self.admit(&TestClient::default(), &[(cand, units)])
    }

    pub(super) fn admit_as(&mut self, id: &str, client: &TestClient, choices: &[(&Cand, &[i64])]) -> Admit {
        self.admit_queued(id, client, choices, WaitRequest::default())
    }

    /// Like [`Self::admit_as`], for a request that may wait in the queue.
    pub(super) fn admit_queued(
        &mut self,
        id: &str,
        client: &TestClient,
        choices: &[(&Cand, &[i64])],
        wait: WaitRequest,
    ) -> Admit {
        let reply = self.admit_raw(id, client, choices, wait);
        self.read_admit(id, client, choices, &reply)
    }

    fn read_admit(&mut self, id: &str, client: &TestClient, choices: &[(&Cand, &[i64])], reply: &Reply) -> Admit {
        let Reply::List(items) = reply else { panic!("unexpected reply of admit: {reply:?}") };
        let int = |i: usize| match items.get(i) {
            Some(Reply::Int(n)) => *n,
            _ => panic!("unexpected reply of admit: {reply:?}"),
        };
        match int(0) {
            1 => {
                let chosen = usize::try_from(int(1) - 1).unwrap();
                self.seq = self.seq.max(int(3));
                self.common.leases.borrow_mut().insert(id.to_owned());
                let (cand, units) = choices[chosen];
                Admit::Go(Lease {
                    id: id.to_owned(),
                    cand: cand.clone(),
                    client: client.clone(),
                    units: units.to_vec(),
                    granted_ms: int(2),
                    chosen,
                    packed: bytes(&items[4]),
                })
            }
            0 => {
                let reason = |chunk: &[Reply]| match chunk {
                    [why, Reply::Int(max), Reply::Int(opens)] => Reason { why: text(why), max: *max, opens: *opens },
                    other => panic!("unexpected reason of a refusal: {other:?}"),
                };
                let reasons = items[6..].chunks(3).map(reason).collect();
                Admit::No(Refusal { now: int(1), opens: int(2), exact: int(3) == 1, by_client: int(4) == 1, reasons })
            }
            2 => {
                self.common.places.borrow_mut().insert(id.to_owned(), text(&items[4]));
                Admit::Wait(int(2))
            }
            -5 => Admit::Changed,
            -1 => Admit::Lost,
            -2 => Admit::Hold(int(1)),
            -3 => Admit::Stale,
            -4 => Admit::Cancelled,
            3 => Admit::NoTicket,
            _ => panic!("unexpected reply of admit: {reply:?}"),
        }
    }

    /// Asks for several tickets with the same candidates in one call.
    pub(super) fn admit_list(&mut self, tickets: &[Asking<'_>]) -> Vec<Admit> {
        let Reply::List(replies) = self.admit_list_raw(tickets) else { panic!("no list") };
        assert_eq!(replies.len(), tickets.len(), "{replies:?}");
        let read =
            |(ticket, reply): (&Asking<'_>, &Reply)| self.read_admit(ticket.id, ticket.client, &ticket.choices, reply);
        tickets.iter().zip(&replies).map(read).collect()
    }

    /// The first arguments of `admit` and `queue_admit`.
    fn admission_head(&self) -> Vec<Bytes> {
        let ttl = LEASE_TTL.to_string();
        words([self.epoch.clone(), self.seq.to_string(), SLACK.to_string(), ttl.clone(), ttl])
    }

    pub(super) fn admit_list_raw(&self, tickets: &[Asking<'_>]) -> Reply {
        let mut keys = vec![self.keys.meta(), self.keys.health()];
        keys.extend(self.keys.queue());
        let choices = &tickets[0].choices;
        let mut args = self.admission_head();
        args.push(Bytes::from(choices.len().to_string()));
        for (cand, units) in choices {
            keys.push(self.shares_key(cand));
            keys.extend(self.candidate_keys(cand));
            args.push(Bytes::from(cand.pack(&vec![0; units.len()], self.now())));
        }
        for Asking { id, client, choices, wait_ms } in tickets {
            let TestClient { id: name, weight, flex, version, .. } = client;
            let first = keys.len() + 1;
            keys.extend([self.keys.lease(id), self.keys.client_record(name)]);
            keys.extend(self.window_keys(client, &[]));
            args.extend(words([
                format!("{name} {version} {weight} {} {wait_ms} 1 {ALIVE} {first}", u8::from(*flex)),
                pack(&client.windows, &vec![1; client.windows.len()], self.now()),
            ]));
            let units = |units: &&[i64]| units.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
            args.extend(choices.iter().map(|(_, own)| Bytes::from(units(own))));
        }
        self.run(Script::QueueAdmit, &keys, &args)
    }

    pub(super) fn admit_raw(
        &self,
        id: &str,
        client: &TestClient,
        choices: &[(&Cand, &[i64])],
        wait: WaitRequest,
    ) -> Reply {
        let mut keys = vec![self.keys.meta(), self.keys.health(), self.keys.lease(id)];
        keys.extend(self.keys.queue());
        keys.push(self.keys.client_record(&client.id));
        keys.extend(self.window_keys(client, &[]));
        for (cand, _) in choices {
            keys.push(self.shares_key(cand));
            keys.extend(self.candidate_keys(cand));
        }
        let TestClient { id: name, weight, flex, version, .. } = client;
        let WaitRequest { wait_ms, again } = wait;
        let place = self.common.places.borrow().get(id).filter(|_| again).map_or(String::new(), |at| format!(" {at}"));
        let mut args = self.admission_head();
        args.extend(words([
            format!("{name} {version} {weight} {} {wait_ms} {} {ALIVE}{place}", u8::from(*flex), u8::from(again)),
            pack(&client.windows, &vec![1; client.windows.len()], self.now()),
        ]));
        args.extend(choices.iter().map(|(c, units)| Bytes::from(c.pack(units, self.now()))));
        self.run(Script::Admit, &keys, &args)
    }

    /// Renews the heartbeats of these tickets. Returns which of them still exist.
    pub(super) fn heartbeat(&self, ids: &[&str]) -> Vec<bool> {
        match self.heartbeat_raw(ids) {
            Reply::List(there) => there.iter().map(|reply| *reply == Reply::Int(1)).collect(),
            other => panic!("unexpected reply of queue_heartbeat: {other:?}"),
        }
    }

    pub(super) fn heartbeat_raw(&self, ids: &[impl AsRef<str>]) -> Reply {
        let mut args = words([ALIVE.to_string()]);
        args.extend(ids.iter().map(|id| Bytes::from(id.as_ref().to_owned())));
        self.run(Script::QueueHeartbeat, &self.queue_keys(), &args)
    }

    /// Removes the ticket of a caller that gave up.
    pub(super) fn leave(&self, id: &str) -> Reply {
        self.run(Script::QueueLeave, &self.queue_keys(), &words([id.to_owned()]))
    }

    fn queue_keys(&self) -> Vec<Key> {
        [self.keys.meta()].into_iter().chain(self.keys.queue()).collect()
    }

    /// Notifications since the last call, each with its ticket and instant.
    pub(super) fn notifications(&self) -> Vec<(String, i64)> {
        let read = |text: String| {
            let (id, at) = text.split_once(' ').expect("a notification contains a ticket and an instant");
            (id.to_owned(), at.parse().unwrap())
        };
        self.common.bench.published().into_iter().map(read).collect()
    }

    pub(super) fn settle(&self, lease: &Lease, end: &End) -> Reply {
        let mut keys = vec![self.keys.meta(), self.keys.health(), self.keys.lease(&lease.id), self.keys.speed()];
        keys.extend(self.keys.queue());
        keys.push(self.shares_key(&lease.cand));
        keys.extend(self.window_keys(&lease.client, &[&lease.cand]));
        let whole = |n: usize| vec![if end.sent { -1 } else { 0 }; n];
        let used = end.used.clone().unwrap_or_else(|| whole(lease.cand.windows.len()));
        let now = self.now();
        let args = words([
            SLACK.to_string(),
            pack(&lease.client.windows, &whole(lease.client.windows.len()), now),
            lease.cand.pack(&used, now),
            end.verdicts[0].to_owned(),
            end.verdicts[1].to_owned(),
            end.rules.to_owned(),
            end.cooldown.clone(),
            end.hints.clone(),
            end.first_ms.to_string(),
            format!("{}/{}", lease.cand.provider, lease.cand.model),
            TOMBSTONE.to_string(),
            end.mode.to_owned(),
            lease.client.id.clone(),
        ]);
        self.run(Script::Settle, &keys, &args)
    }

    /// Settles a lease, which must exist.
    #[track_caller]
    pub(super) fn close(&self, lease: &Lease, end: &End) {
        assert_eq!(self.settle(lease, end), Reply::Int(1), "settling {lease:?}");
    }

    /// Renews a lease. Returns false if it has expired.
    pub(super) fn renew(&self, lease: &mut Lease) -> bool {
        match self.renew_raw(lease) {
            Reply::Bulk(packed) => {
                lease.packed = packed;
                true
            }
            _ => false,
        }
    }

    pub(super) fn renew_raw(&self, lease: &Lease) -> Reply {
        let mut keys = vec![self.keys.meta(), self.keys.lease(&lease.id)];
        keys.extend(self.window_keys(&lease.client, &[&lease.cand]));
        let own = pack(&lease.client.windows, &vec![1; lease.client.windows.len()], self.now());
        let packed = pack(&lease.cand.windows, &lease.units, self.now());
        self.run(Script::Renew, &keys, &words([SLACK.to_string(), LEASE_TTL.to_string(), own, packed]))
    }

    pub(super) fn sync(&mut self) -> Synced {
        self.common.epochs.set(self.common.epochs.get() + 1);
        let fresh = format!("epoch{}", self.common.epochs.get());
        let args = words([self.epoch.clone(), self.seq.to_string(), fresh, SLACK.to_string()]);
        let reply = self.run(Script::Sync, &[self.keys.meta()], &args);
        let Reply::List(items) = &reply else { panic!("unexpected reply of sync: {reply:?}") };
        let [epoch, Reply::Int(seq), Reply::Int(now), Reply::Int(hold), Reply::Int(since), ..] = &items[..] else {
            panic!("unexpected reply of sync: {reply:?}")
        };
        self.epoch = text(epoch);
        self.seq = *seq;
        Synced { seq: *seq, now: *now, hold: *hold, since: *since }
    }

    /// Replays leases that a lost state may miss. A lease with an `End` was settled already.
    pub(super) fn repeat(&self, leases: &[(&Lease, Option<&End>)]) -> i64 {
        self.repeat_after("", leases)
    }

    /// `known`: the epoch that the replica knew before.
    pub(super) fn repeat_after(&self, known: &str, leases: &[(&Lease, Option<&End>)]) -> i64 {
        let mut keys = vec![self.keys.meta()];
        let mut args = words([
            self.epoch.clone(),
            known.to_owned(),
            SLACK.to_string(),
            LEASE_TTL.to_string(),
            TOMBSTONE.to_string(),
        ]);
        for (lease, ended) in leases {
            keys.push(self.keys.lease(&lease.id));
            keys.extend(self.window_keys(&lease.client, &[&lease.cand]));
            let sent = ended.is_none_or(|end| end.sent);
            let used = match ended {
                None => lease.units.clone(),
                Some(end) if !end.sent => vec![0; lease.units.len()],
                Some(end) => end.used.as_ref().map_or(lease.units.clone(), |used| {
                    used.iter().zip(&lease.units).map(|(used, units)| if *used < 0 { *units } else { *used }).collect()
                }),
            };
            args.extend([lease.packed.clone(), Bytes::from(if ended.is_some() { "x" } else { "" })]);
            let own = pack(&lease.client.windows, &vec![i64::from(sent); lease.client.windows.len()], self.now());
            args.extend(words([own, pack(&lease.cand.windows, &used, self.now())]));
        }
        match self.run(Script::ReplayLeases, &keys, &args) {
            Reply::Int(n) => n,
            other => panic!("unexpected reply of replay_leases: {other:?}"),
        }
    }

    pub(super) fn control(&self, what: &str, subject: &str) {
        let args = words([what, subject, "admin", "test.control", subject, "", "", ""].map(str::to_owned));
        let keys: Vec<Key> =
            [self.keys.meta(), self.keys.health(), self.keys.audit()].into_iter().chain(self.keys.queue()).collect();
        let reply = self.run(Script::Control, &keys, &args);
        assert_eq!(reply, Reply::Int(1));
    }

    /// The reply of `snapshot` for every window used so far.
    pub(super) fn snapshot(&self, oldest_ms: i64) -> String {
        let mut keys = vec![self.keys.meta(), self.keys.health(), self.keys.speed(), self.keys.snapshot("hash", 0)];
        let seen = self.common.seen.borrow().clone();
        keys.extend(seen.keys().cloned());
        let packed: String = seen.values().map(|w| w.pack(0, self.now())).collect();
        match self.run(
            Script::Snapshot,
            &keys,
            &words([oldest_ms.to_string(), SLACK.to_string(), packed, "hs".to_owned()]),
        ) {
            Reply::Bulk(text) => String::from_utf8(text.to_vec()).unwrap(),
            other => panic!("unexpected reply of snapshot: {other:?}"),
        }
    }

    fn raw_hash(&self, key: &str) -> BTreeMap<String, Bytes> {
        let Reply::List(flat) = self.eval("return redis.call('HGETALL', KEYS[1])", key) else { panic!("not a hash") };
        flat.chunks(2).map(|pair| (text(&pair[0]), bytes(&pair[1]))).collect()
    }

    fn hash(&self, key: &str) -> BTreeMap<String, String> {
        self.raw_hash(key).into_iter().map(|(field, value)| (field, text(&Reply::Bulk(value)))).collect()
    }

    pub(super) fn health(&self) -> BTreeMap<String, String> {
        self.hash(&self.keys.health())
    }

    /// The fields of a window. For a sliding one: every sub-bucket, including the newest, and `q`.
    pub(super) fn window(&self, key: &str) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        for (field, value) in self.raw_hash(key) {
            if field == "h" {
                let doubles: Vec<_> = value.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
                let [_, q, _, _, _, _, newest, here] = doubles[..] else {
                    panic!("invalid head of a window: {value:?}")
                };
                fields.insert("q".to_owned(), q.to_string());
                fields.insert(newest.to_string(), here.to_string());
            } else {
                fields.insert(field, text(&Reply::Bulk(value)));
            }
        }
        fields
    }

    pub(super) fn exists(&self, key: &str) -> bool {
        self.eval("return redis.call('EXISTS', KEYS[1])", key) == Reply::Int(1)
    }

    pub(super) fn ttl(&self, key: &str) -> i64 {
        if let Reply::Int(ms) = self.eval("return redis.call('PTTL', KEYS[1])", key) { ms } else { panic!("no PTTL") }
    }

    /// Every existing key among those that these tests can create.
    pub(super) fn present(&self) -> Vec<Key> {
        let mut all = vec![self.keys.meta(), self.keys.health(), self.keys.speed(), self.keys.snapshot("hash", 0)];
        all.extend(self.common.seen.borrow().keys().cloned());
        all.extend(self.common.clients.borrow().iter().cloned());
        all.extend(self.common.leases.borrow().iter().map(|id| self.keys.lease(id)));
        all.extend(self.common.shares.borrow().iter().cloned());
        all.extend(self.keys.queue());
        all.retain(|key| self.exists(key));
        all
    }

    /// The state on which decisions depend: live charges, breakers, cooldowns and learned limits, without housekeeping.
    pub(super) fn charges(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let now = self.now();
        for (key, w) in &*self.common.seen.borrow() {
            if w.kind == 'n' {
                let Reply::List(flat) = self.eval("return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')", key)
                else {
                    panic!("not a sorted set")
                };
                for pair in flat.chunks(2) {
                    if text(&pair[1]).parse::<i64>().unwrap() > now {
                        all.insert(format!("{key} {}", text(&pair[0])), text(&pair[1]));
                    }
                }
                continue;
            }
            for (field, value) in self.window(key) {
                let kept = match (w.kind, field.parse::<i64>()) {
                    ('s' | 'm', Ok(stop)) => stop > now - w.span_ms - SLACK,
                    ('s' | 'm', Err(_)) => field == "q",
                    _ => true,
                };
                if kept {
                    all.insert(format!("{key} {field}"), value);
                }
            }
        }
        all.extend(self.health());
        all
    }
}

impl TestLedger {
    /// The wait queue and the clients' shares.
    pub(super) fn queue_state(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let [queue, guests, tickets, alive, fair] = self.keys.queue();
        for key in [queue, guests, alive] {
            let Reply::List(flat) = self.eval("return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')", &key) else {
                panic!("not a sorted set")
            };
            all.extend(flat.chunks(2).map(|pair| (format!("{key} {}", text(&pair[0])), text(&pair[1]))));
        }
        for key in [tickets, fair].into_iter().chain(self.common.shares.borrow().iter().cloned()) {
            all.extend(self.hash(&key).into_iter().map(|(field, value)| (format!("{key} {field}"), value)));
        }
        all
    }

    /// Ids of all queued tickets, in queue order.
    pub(super) fn queued_tickets(&self) -> Vec<String> {
        let [queue, ..] = self.keys.queue();
        let Reply::List(members) = self.eval("return redis.call('ZRANGE', KEYS[1], 0, -1)", &queue) else {
            panic!("not a sorted set")
        };
        members.iter().map(|member| text(member).split('\t').nth(2).unwrap().to_owned()).collect()
    }
}

fn bytes(reply: &Reply) -> Bytes {
    match reply {
        Reply::Bulk(bytes) => bytes.clone(),
        other => panic!("not a string: {other:?}"),
    }
}

pub(super) fn text(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(text) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("not a string: {other:?}"),
    }
}
