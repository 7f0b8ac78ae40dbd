//! What authentication needs of a request: the shared state, the access policy and the caller's address, with the throttle
//! for guessed admin keys.

use std::{net::IpAddr, sync::Arc, time::Duration};

use actix_web::{HttpRequest, web::Data};

use crate::{
    api::edge::{
        access_policy::{AccessPolicy, subscriber},
        error::ApiError,
        flow_error,
        state::AppState,
    },
    ledger::ChangedBy,
};

/// The id of the admin as a client, and in the audit log.
pub(crate) const ADMIN: &str = "admin";

pub(crate) struct AuthContext {
    pub state: Data<AppState>,
    pub policy: Arc<AccessPolicy>,
    pub address: Option<IpAddr>,
}

impl AuthContext {
    pub(crate) fn new(request: &HttpRequest) -> Result<Self, ApiError> {
        let state = request.app_data::<Data<AppState>>().ok_or(ApiError::Internal)?.clone();
        let policy = state.policy.load_full();
        let address = policy.client_address(request.headers(), request.peer_addr().map(|a| a.ip()));
        Ok(Self { state, policy, address })
    }

    /// The audit log's actor: the admin at this address.
    pub(crate) fn by(&self) -> ChangedBy {
        ChangedBy { actor: ADMIN, address: self.address.map(|ip| ip.to_string()) }
    }

    /// Counts a wrong key, which may be a guess of the admin key: equal names count once. Returns how long wrong keys of this
    /// address are refused; zero if they are not. The right key is never refused, whoever else guessed from the address.
    pub(crate) async fn count_wrong_key(&self, name: &str) -> Result<Duration, ApiError> {
        if self.policy.admin_key.is_none() {
            return Ok(Duration::ZERO);
        }
        let (address, guesses) = (throttle_address(self.address), &self.state.guesses);
        if let Some(block) = guesses.refused(&address) {
            guesses.delay().await;
            return Ok(block);
        }
        let block = self.state.flow.ledger.login_block(&address, Some(name)).await;
        let block = block.map_err(|e| flow_error::from_ledger(&e))?;
        if !block.is_zero() {
            guesses.block(address, block);
            guesses.delay().await;
        }
        Ok(block)
    }

    /// Counts a failed login without waiting for the ledger: the caller is served either way.
    pub(crate) fn count_failed_login(&self, name: String) {
        let address = throttle_address(self.address);
        if self.policy.admin_key.is_some() && self.state.guesses.refused(&address).is_none() {
            self.state.flow.ledger.report_failed_login(address, name);
        }
    }

    /// Counts a wrong key on an endpoint that accepts only the admin key, and returns the error to send.
    pub(crate) async fn failed_login(&self) -> ApiError {
        let name = uuid::Uuid::new_v4().simple().to_string();
        match self.count_wrong_key(&name).await {
            Ok(Duration::ZERO) => ApiError::InvalidKey("This is not the admin key.".into()),
            Ok(block) => too_many_attempts(block),
            Err(error) => error,
        }
    }
}

pub(crate) fn too_many_attempts(block: Duration) -> ApiError {
    ApiError::TooManyAttempts { retry_ms: i64::try_from(block.as_millis()).unwrap_or(i64::MAX) }
}

/// The address that failed logins are counted by. An IPv6 subscriber controls a whole /64, so that counts as one.
fn throttle_address(address: Option<IpAddr>) -> String {
    match address {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(v4)) => v4.to_string(),
        Some(IpAddr::V6(v6)) => subscriber(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let address = |ip: &str| throttle_address(Some(ip.parse().unwrap()));
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), address("2001:db8:1:2::1"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("203.0.113.7"), "203.0.113.7");
    }
}
