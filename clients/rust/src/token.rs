//! Tokens: issued, verified, and kept until shortly before they expire.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Message};
use serde_json::{Map, Value as Claims};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::Code;

use crate::Error;
use crate::client::{Client, duration};
use crate::v1::token_service_client::TokenServiceClient;
use crate::v1::{IssueTokenRequest, VerifyTokenRequest};

/// The largest whole number that JSON's readers do not round.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// What a token may have beside its subject and claims.
#[derive(Debug, Clone, Default)]
pub struct TokenOptions {
    audiences: Vec<String>,
    ttl: Option<Duration>,
}

impl TokenOptions {
    /// No audience, and the server's lifetime.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds someone who is meant to accept the token.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// The lifetime, in whole seconds.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

/// A token that was issued.
#[derive(Clone)]
#[non_exhaustive]
pub struct Token {
    /// The compact JWS, for `Authorization: Bearer`.
    pub token: String,
    /// The id of the key that signed.
    pub kid: String,
    /// The JWS algorithm.
    pub alg: String,
    /// The token's own id.
    pub jti: String,
    /// The `iat` claim.
    pub issue_time: DateTime<Utc>,
    /// The `exp` claim.
    pub expire_time: DateTime<Utc>,
}

/// Shows what names the token.
impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(out.debug_struct("Token"), &self.kid, &self.jti)
    }
}

/// Shows what names the token, and no claim.
impl fmt::Debug for Verified {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(out.debug_struct("Verified"), &self.kid, &self.jti)
    }
}

fn shown(mut out: fmt::DebugStruct<'_, '_>, kid: &str, jti: &str) -> fmt::Result {
    out.field("kid", &kid).field("jti", &jti).finish_non_exhaustive()
}

/// A token that was found valid.
#[derive(Clone)]
#[non_exhaustive]
pub struct Verified {
    /// All claims.
    pub claims: Map<String, Claims>,
    /// The `sub` claim.
    pub subject: String,
    /// The id of the key that signed.
    pub kid: String,
    /// The JWS algorithm.
    pub alg: String,
    /// The token's own id.
    pub jti: String,
    /// The `iat` claim.
    pub issue_time: DateTime<Utc>,
    /// The `exp` claim.
    pub expire_time: DateTime<Utc>,
}

impl Client {
    /// A token for `sub`.
    pub async fn issue_token(
        &self,
        sub: impl Into<String>,
        claims: Claims,
        options: TokenOptions,
    ) -> Result<Token, Error> {
        let (subject, claims, audiences) = (sub.into(), claims_struct(claims)?, options.audiences);
        let ttl = options.ttl.map(duration);
        let request = IssueTokenRequest { subject, audiences, claims, ttl, validate_only: false };
        let call =
            |channel, request| async move { TokenServiceClient::new(channel).issue_token(request).await };
        let issued = self.call(true, request, call).await?;
        let (issue_time, expire_time) = (moment(issued.issue_time)?, moment(issued.expire_time)?);
        let (token, kid, alg, jti) = (issued.token, issued.kid, issued.alg, issued.jti);
        Ok(Token { token, kid, alg, jti, issue_time, expire_time })
    }

    /// The claims of a valid token; `audience` must be among its own, unless empty.
    pub async fn verify_token(
        &self,
        token: impl Into<String>,
        audience: impl Into<String>,
    ) -> Result<Verified, Error> {
        let request = VerifyTokenRequest { token: token.into(), audience: audience.into() };
        let call =
            |channel, request| async move { TokenServiceClient::new(channel).verify_token(request).await };
        let found = self.call(true, request, call).await?;
        let (issue_time, expire_time) = (moment(found.issue_time)?, moment(found.expire_time)?);
        let claims = found.claims.unwrap_or_default().fields;
        let claims = claims.into_iter().map(|(name, value)| (name, received(value))).collect();
        let (subject, kid, alg, jti) = (found.subject, found.kid, found.alg, found.jti);
        Ok(Verified { claims, subject, kid, alg, jti, issue_time, expire_time })
    }

    /// Gives a token that is good for a while, again and again; no I/O.
    pub fn token_source(&self, sub: impl Into<String>, claims: Claims, options: TokenOptions) -> TokenSource {
        let (client, sub, kept) = (self.clone(), sub.into(), Mutex::default());
        TokenSource(Arc::new(Source { client, sub, claims, options, kept }))
    }
}

/// Gives the same token until shortly before it expires. Callers at the same time share one request, and its
/// failure. Clones are the same source.
#[derive(Clone)]
pub struct TokenSource(Arc<Source>);

struct Source {
    client: Client,
    sub: String,
    claims: Claims,
    options: TokenOptions,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    good: Option<(Token, Instant)>,
    failed: Option<(Error, Instant)>,
}

impl TokenSource {
    /// A token.
    pub async fn token(&self) -> Result<Token, Error> {
        let called = Instant::now();
        let mut kept = self.0.kept.lock().await;
        let asked = Instant::now();
        match &*kept {
            Kept { good: Some((token, until)), .. } if asked < *until => return Ok(token.clone()),
            Kept { failed: Some((error, when)), .. } if called <= *when => return Err(error.clone()),
            _ => {}
        }
        let Source { client, sub, claims, options, .. } = &*self.0;
        let issued = client.issue_token(sub, claims.clone(), options.clone()).await;
        match &issued {
            Ok(token) => {
                let life = (token.expire_time - token.issue_time).to_std().unwrap_or_default();
                let margin = (life / 10).min(Duration::from_secs(60));
                kept.good = Some((token.clone(), asked + (life - margin)));
            }
            Err(error) => kept.failed = Some((error.clone(), Instant::now())),
        }
        issued
    }
}

fn moment(time: Option<prost_types::Timestamp>) -> Result<DateTime<Utc>, Error> {
    let parts = time.and_then(|time| Some((time.seconds, time.nanos.try_into().ok()?)));
    parts.and_then(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos)).ok_or_else(Error::malformed)
}

/// Claims as they are sent. Fails for what a Struct would not hold as it is.
pub(crate) fn claims_struct(claims: Claims) -> Result<Option<Struct>, Error> {
    match claims {
        Claims::Null => Ok(None),
        Claims::Object(claims) => Ok(Some(fields(claims)?)),
        _ => Err(Error::invalid("claims: they are a JSON object, or null for none")),
    }
}

fn fields(claims: Map<String, Claims>) -> Result<Struct, Error> {
    let sent = claims.into_iter().map(|(name, value)| Ok((name, sent(value)?)));
    Ok(Struct { fields: sent.collect::<Result<_, Error>>()? })
}

fn sent(claim: Claims) -> Result<Message, Error> {
    let kind = match claim {
        Claims::Null => Kind::NullValue(0),
        Claims::Bool(value) => Kind::BoolValue(value),
        Claims::String(value) => Kind::StringValue(value),
        Claims::Number(number) => match number.as_f64() {
            Some(value) if value.fract() != 0.0 || value.abs() <= EXACT => Kind::NumberValue(value),
            _ => {
                let message = "claims: an integer beyond 2^53 - 1 would be rounded; send it as text";
                return Err(Error::new(Code::InvalidArgument, "CLAIM_NOT_EXACT", message));
            }
        },
        Claims::Array(items) => {
            let values = items.into_iter().map(sent).collect::<Result<_, _>>()?;
            Kind::ListValue(ListValue { values })
        }
        Claims::Object(claims) => Kind::StructValue(fields(claims)?),
    };
    Ok(Message { kind: Some(kind) })
}

fn received(claim: Message) -> Claims {
    match claim.kind {
        None | Some(Kind::NullValue(_)) => Claims::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::NumberValue(value)) if value.fract() == 0.0 && value.abs() <= EXACT => {
            (value as i64).into()
        }
        Some(Kind::NumberValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(received).collect(),
        Some(Kind::StructValue(object)) => {
            object.fields.into_iter().map(|(name, value)| (name, received(value))).collect()
        }
    }
}
