//! A request's way through the cache: look, wait for another, ask, keep.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_LOCATION, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;

use super::CacheCounters;
use super::body::{Filling, KeepingBody};
use super::directives::Directives;
use super::flight::{Leader, Part, Waited};
use super::heads::{authority, has_an_end, updated, validate};
use super::key::{Key, key, rewrites_itself, secondary};
use super::policy::terms;
use super::reply::Reply;
use super::room::Room;
use super::status::{Passed, Why};
use super::store::{Resource, RouteCache, Stored, Use, Wishes, with_date};
use crate::attempt::Answer;
use crate::body::{RequestBody, ResponseBody};
use crate::exchange::Exchange;
use crate::forward::{Failure, conclude, search};
use crate::headers::{is_grpc, prepare_response};
use crate::view::ShardRoute;
use crate::wish::Wish;

/// One request's.
#[derive(Debug)]
pub(crate) struct Lookup {
    cache: Arc<RouteCache>,
    key: Key,
    what: What,
    wishes: Wishes,
    is_authorised: bool,
    /// When it was sent to a backend.
    began: Instant,
    /// Its fields as the client sent them, for what comes later.
    asked: HeaderMap,
    authority: Option<HeaderValue>,
    /// What the backend is asked to confirm.
    stored: Option<Arc<Stored>>,
    leader: Option<Leader>,
    filling: Option<Filling>,
    passed: Passed,
    /// The answer says already how it came about.
    is_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Get,
    Head,
    /// Changes something.
    Write,
    /// A GET of the cache's own.
    Refresh,
}

impl Lookup {
    /// Of a request that is ready for a backend; none where the cache has no part in it.
    pub(crate) fn new(
        route: &ShardRoute,
        parts: &Parts,
        body: &RequestBody,
        may_switch: bool,
    ) -> Option<Box<Self>> {
        let cache = route.cache.as_ref()?;
        let lookup = Self::of(cache, parts, body, may_switch);
        if lookup.is_none() {
            route.counters().cache.bypassed.add(1);
        }
        lookup
    }

    fn of(cache: &Arc<RouteCache>, parts: &Parts, body: &RequestBody, may_switch: bool) -> Option<Box<Self>> {
        let headers = &parts.headers;
        let what = match parts.method {
            Method::GET => What::Get,
            Method::HEAD => What::Head,
            Method::OPTIONS | Method::TRACE | Method::CONNECT => return None,
            _ => What::Write,
        };
        let directives = Directives::of(headers);
        let directives = if cache.spec.ignores_requests { Directives::default() } else { directives };
        if what != What::Write {
            // These conditions are about the backend's state (RFC 9111 section 4.3.2).
            let for_backend = headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE);
            let has_body = !matches!(body, RequestBody::Empty);
            let is_other = may_switch || is_grpc(headers) || rewrites_itself(headers);
            if for_backend || has_body || is_other || directives.has("no-store") {
                return None;
            }
        }
        let passed = Passed::new(if what == What::Write { Why::Method } else { Why::UriMiss });
        Some(Box::new(Self {
            wishes: Wishes::of(&directives),
            is_authorised: headers.contains_key(AUTHORIZATION),
            authority: authority(&parts.uri, headers),
            ..Self::about(cache, key(&parts.uri, headers)?, what, passed)
        }))
    }

    fn about(cache: &Arc<RouteCache>, key: Key, what: What, passed: Passed) -> Self {
        Self {
            cache: Arc::clone(cache),
            key,
            what,
            wishes: Wishes::default(),
            is_authorised: false,
            began: Instant::now(),
            asked: HeaderMap::new(),
            authority: None,
            stored: None,
            leader: None,
            filling: None,
            passed,
            is_told: false,
        }
    }

    /// What answers the request: something kept, or a backend.
    pub(crate) async fn answer(
        &mut self,
        exchange: &Exchange,
        wish: Option<&Wish>,
        route: &Rc<ShardRoute>,
        request: &mut Option<Request<RequestBody>>,
    ) -> Result<Box<Answer>, Failure> {
        if let Some(request) = request.as_ref().filter(|_| self.what != What::Write)
            && let Some(reply) = self.find(exchange, route, request).await
        {
            self.is_told = true;
            return Err(Failure::Kept(Box::new(reply)));
        }
        self.ask(exchange, wish, route, request).await
    }

    async fn find(
        &mut self,
        exchange: &Exchange,
        route: &Rc<ShardRoute>,
        request: &Request<RequestBody>,
    ) -> Option<Reply> {
        let cache = Arc::clone(&self.cache);
        let headers = request.headers();
        let counters = &exchange.counters().cache;
        let deadline = exchange.arrived() + cache.spec.collapse_wait;
        let mut waits = 0;
        loop {
            let now = Instant::now();
            let resource = cache.get(&self.key);
            let stored = resource.as_ref().and_then(|resource| resource.select(headers));
            let stored = stored.filter(|stored| !self.is_authorised || stored.terms.for_all);
            let is_vary_miss = stored.is_none() && resource.as_ref().is_some_and(|known| !known.is_empty());
            self.passed.why = if is_vary_miss { Why::VaryMiss } else { Why::UriMiss };
            if let Some(stored) = stored {
                let is_for = stored.is_for(&self.wishes, now);
                match is_for {
                    Use::Fresh if waits > 0 => counters.collapsed.add(1),
                    Use::Fresh => counters.hits.add(1),
                    Use::Stale | Use::Renew => counters.stale.add(1),
                    Use::Outdated => self.passed.why = Why::Stale,
                    Use::Unwanted => self.passed.why = Why::Request,
                }
                if is_for == Use::Renew {
                    self.refresh(exchange, route, request, stored);
                }
                if matches!(is_for, Use::Fresh | Use::Stale | Use::Renew) {
                    // What was waited for was asked for by the other.
                    let passed = (waits > 0).then_some(Passed { is_collapsed: true, ..self.passed });
                    return Some(Reply::new(stored, headers, self.what == What::Head, passed, now));
                }
            }
            self.stored = stored.cloned();
            if self.wishes.only_if_cached {
                return Some(Reply::nothing_kept());
            }
            if waits == WAITS_MAX || !self.may_wait(resource.as_deref(), headers, now) {
                return None;
            }
            let question = resource.map_or_else(Box::default, |known| known.question(headers));
            match cache.flights.join((Arc::clone(&self.key), question)) {
                Part::Leads(leader) if waits == 0 && self.has_changed(headers) => drop(leader),
                Part::Leads(leader) => {
                    self.leader = Some(leader);
                    return None;
                }
                Part::Follows(follower) => {
                    waits += 1;
                    if follower.wait(deadline).await == Waited::Ask {
                        return None;
                    }
                }
            }
        }
    }

    /// Whether what is kept is not what it was a moment ago: another has landed in between.
    fn has_changed(&self, headers: &HeaderMap) -> bool {
        let resource = self.cache.get(&self.key);
        let now = resource.as_ref().and_then(|resource| resource.select(headers));
        now.map(Arc::as_ptr) != self.stored.as_ref().map(Arc::as_ptr)
    }

    /// Whether it may have what another gets, and the other way round.
    fn may_wait(&self, resource: Option<&Resource>, headers: &HeaderMap, now: Instant) -> bool {
        let is_own = [IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE].iter().any(|name| headers.contains_key(name));
        let is_plain = self.what == What::Get
            && !self.is_authorised
            && (!is_own || self.stored.is_some())
            && self.passed.why != Why::Request;
        is_plain
            && !self.cache.spec.collapse_wait.is_zero()
            && self.stored.as_ref().is_none_or(|stored| stored.can_be_shared())
            && !resource.is_some_and(|resource| resource.is_alone(now))
    }

    /// Asks a backend.
    async fn ask(
        &mut self,
        exchange: &Exchange,
        wish: Option<&Wish>,
        route: &Rc<ShardRoute>,
        request: &mut Option<Request<RequestBody>>,
    ) -> Result<Box<Answer>, Failure> {
        if let Some(request) = request {
            self.asked.clone_from(request.headers());
            if let Some(stored) = &self.stored {
                validate(request.headers_mut(), stored);
            }
        }
        self.began = Instant::now();
        let answer = search(exchange, wish, route, request).await;
        self.settle(exchange, answer)
    }

    /// What becomes of an answer: kept, used to confirm what is kept, or replaced by that.
    fn settle(
        &mut self,
        exchange: &Exchange,
        answer: Result<Box<Answer>, Failure>,
    ) -> Result<Box<Answer>, Failure> {
        if self.what == What::Write {
            if let Ok(answer) = &answer {
                self.written(&answer.response);
            }
            exchange.counters().cache.bypassed.add(1);
            return answer;
        }
        let now = Instant::now();
        let counters = &exchange.counters().cache;
        let failed = match &answer {
            Ok(answer) => RESCUED.contains(&answer.response.status()).then(|| answer.response.status()),
            Err(failure) => failure.status().filter(StatusCode::is_server_error),
        };
        let stored = self.stored.take();
        match (answer, stored) {
            (Ok(answer), Some(stored)) if answer.response.status() == StatusCode::NOT_MODIFIED => {
                self.count(counters, |counters| counters.revalidated.add(1));
                Err(self.confirmed(exchange, &stored, answer, now))
            }
            (_, Some(stored)) if failed.is_some() && stored.rescues(now) => {
                self.count(counters, |counters| counters.rescued.add(1));
                self.passed.status = failed.map(|status| status.as_u16());
                Err(self.reply(&stored, now))
            }
            (answer, stored) => {
                self.count(counters, |counters| counters.misses.add(1));
                if let Ok(answer) = &answer
                    && self.what != What::Head
                {
                    self.keep(&answer.response, now);
                    // What the backend does not stand by any more is of no use even in its absence.
                    if stored.is_some() && self.filling.is_none() && failed.is_none() {
                        self.cache.invalidate(&self.key, now);
                    }
                }
                answer
            }
        }
    }

    fn count(&self, counters: &CacheCounters, add: impl FnOnce(&CacheCounters)) {
        if self.what != What::Refresh {
            add(counters);
        }
    }

    fn reply(&mut self, stored: &Stored, now: Instant) -> Failure {
        self.is_told = true;
        let is_head = self.what == What::Head;
        Failure::Kept(Box::new(Reply::new(stored, &self.asked, is_head, Some(self.passed), now)))
    }

    /// The backend says that what is kept is still so; its word on how long counts from now on.
    fn confirmed(
        &mut self,
        exchange: &Exchange,
        stored: &Stored,
        answer: Box<Answer>,
        now: Instant,
    ) -> Failure {
        let Answer { response, headed, mut lease } = *answer;
        exchange.counters().latency.record(headed.saturating_duration_since(exchange.arrived()));
        lease.keep_connection();
        self.passed.status = Some(response.status().as_u16());
        let headers = updated(&stored.headers, response.headers());
        let percent = self.cache.spec.heuristic_percent;
        let terms = terms(stored.status, &headers, self.is_authorised, percent, SystemTime::now());
        let is_kept = terms.is_some();
        let secondary = terms.as_ref().map(|terms| secondary(&terms.vary, &self.asked));
        let confirmed = Arc::new(Stored {
            status: stored.status,
            headers,
            body: stored.body.clone(),
            terms: terms.unwrap_or_else(|| stored.terms.clone()),
            received: now,
            secondary: secondary.unwrap_or_default(),
        });
        if is_kept {
            self.passed.is_stored = self.cache.put(&self.key, self.began, Arc::clone(&confirmed));
        } else {
            self.cache.invalidate(&self.key, now);
        }
        match self.leader.take() {
            Some(leader) if self.passed.is_stored => leader.landed(),
            Some(leader) => leader.alone(),
            None => {}
        }
        self.reply(&confirmed, now)
    }

    /// Decides whether a response is kept as it passes.
    fn keep<B>(&mut self, response: &Response<B>, now: Instant) {
        let leader = self.leader.take();
        let status = response.status();
        let percent = self.cache.spec.heuristic_percent;
        let length =
            response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut room = Room::new(&self.cache);
        let has_room = room.reach(length.unwrap_or(0));
        let mut headers = response.headers().clone();
        prepare_response(&mut headers);
        let terms = terms(status, &headers, self.is_authorised, percent, SystemTime::now());
        let terms = terms.filter(|_| has_room && has_an_end(response));
        let Some(terms) = terms else {
            if let Some(leader) = leader {
                match status {
                    status if status.is_server_error() => leader.alone(),
                    _ => leader.alone_from(&self.cache, &self.key),
                }
            }
            return;
        };
        self.passed.is_stored = true;
        headers.remove(CONTENT_LENGTH);
        self.filling = Some(Filling {
            cache: Arc::clone(&self.cache),
            key: Arc::clone(&self.key),
            began: self.began,
            received: now,
            status,
            headers: with_date(headers),
            secondary: secondary(&terms.vary, &self.asked),
            terms,
            leader,
            room,
            body: Vec::with_capacity(usize::try_from(length.unwrap_or(0)).unwrap_or(0)),
            length,
        });
    }

    /// A request that changes something was answered: what is kept of what it may have changed is forgotten (RFC 9111 section
    /// 4.4).
    fn written<B>(&self, response: &Response<B>) {
        if !(response.status().is_success() || response.status().is_redirection()) {
            return;
        }
        let now = Instant::now();
        self.cache.invalidate(&self.key, now);
        for name in [LOCATION, CONTENT_LOCATION] {
            let Some(target) =
                response.headers().get(name).and_then(|value| Uri::try_from(value.as_bytes()).ok())
            else {
                continue;
            };
            let own = self.authority.as_ref().map(HeaderValue::as_bytes);
            let is_own = target.authority().is_none_or(|other| Some(other.as_str().as_bytes()) == own);
            let path = target.path_and_query().filter(|path| is_own && path.as_str().starts_with('/'));
            let mut headers = self.asked.clone();
            if let (Some(path), Some(authority)) = (path, &self.authority) {
                headers.insert(HOST, authority.clone());
                if let Some(key) = key(&Uri::from(path.clone()), &headers) {
                    self.cache.invalidate(&key, now);
                }
            }
        }
    }

    /// Renews what is stale, unless somebody does so already.
    fn refresh(
        &self,
        exchange: &Exchange,
        route: &Rc<ShardRoute>,
        request: &Request<RequestBody>,
        stored: &Arc<Stored>,
    ) {
        let question = (Arc::clone(&self.key), secondary(&stored.terms.vary, request.headers()));
        let Part::Leads(leader) = self.cache.flights.join(question) else { return };
        let mut renewing = Request::new(RequestBody::Empty);
        renewing.uri_mut().clone_from(request.uri());
        *renewing.version_mut() = request.version();
        renewing.headers_mut().clone_from(request.headers());
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE, IF_RANGE] {
            renewing.headers_mut().remove(name);
        }
        let passed = Passed::new(Why::Stale);
        let mut lookup = Box::new(Self {
            is_authorised: self.is_authorised,
            stored: Some(Arc::clone(stored)),
            leader: Some(leader),
            ..Self::about(&self.cache, Arc::clone(&self.key), What::Refresh, passed)
        });
        let (exchange, route) = (exchange.another(), Rc::clone(route));
        exchange.counters().cache.refreshes.add(1);
        tokio::task::spawn_local(async move {
            let mut request = Some(renewing);
            let answer = lookup.ask(&exchange, None, &route, &mut request).await;
            let mut body = lookup.finish(conclude(exchange, answer, None)).into_body();
            // Read to its end for the sake of what is kept of it.
            while let Some(Ok(_)) = body.frame().await {}
        });
    }

    /// The last that happens to a response.
    pub(crate) fn finish(
        mut self: Box<Self>,
        mut response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        if !self.is_told {
            self.passed.tell(response.headers_mut());
        }
        match self.filling.take() {
            Some(filling) => {
                response.map(|body| ResponseBody::Keeping(Box::new(KeepingBody::new(body, filling))))
            }
            None => response,
        }
    }
}

impl Leader {
    /// What came is for nobody else, and so will the next be: where somebody waited, nobody does for some time.
    pub(super) fn alone_from(self, cache: &RouteCache, key: &Key) {
        if self.is_followed() {
            cache.leave_alone(key, Instant::now());
        }
        self.alone();
    }
}

/// How often a request waits for another's before it asks itself.
const WAITS_MAX: u32 = 2;
/// What a backend answers when it fails, rather than when it means it.
const RESCUED: [StatusCode; 4] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];
