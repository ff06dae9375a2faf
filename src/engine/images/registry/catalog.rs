//! What there is to be pulled: a search service in Docker's form, the catalog of a registry, and the tags of a repository.
//! Sources: the OCI Distribution Specification, "Listing Tags"; the distribution project's `_catalog`; Docker's index
//! API, "Search".

use reqwest::header::{HeaderMap, LINK};
use reqwest::{Client, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::auth::Access;
use super::endpoint::Endpoint;
use super::{Given, Http, RegistryError};
use crate::model::ImageRef;

/// A repository that a search has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// As it is pulled: with its registry, unless that is Docker's.
    pub name: String,
    pub description: String,
    pub stars: u64,
    pub official: bool,
}

const HUB: &str = "https://index.docker.io/";
const PAGE: usize = 1000;
/// Answers come page by page; a registry that always has one more is not followed for ever.
const MAX_PAGES: usize = 100;

impl Http {
    /// Repositories that match: `TERM` at Docker's registry, `host[:port][/TERM]` at another one.
    pub(in crate::engine::images) async fn search(
        &self,
        text: &str,
        limit: usize,
        given: Option<&Given>,
    ) -> Result<Vec<Found>, RegistryError> {
        let (registry, term) = match text.split_once('/').unwrap_or((text, "")) {
            (host, term) if host.contains([':', '.']) || host == "localhost" => (host, term),
            _ => ("docker.io", text),
        };
        let term = term.trim();
        let service = self.settings()?.reach(registry).and_then(|reach| reach.search.clone());
        let mut found = match service.or_else(|| (registry == "docker.io").then(|| HUB.to_owned())) {
            Some(service) => self.ask_service(registry, &service, term, limit).await?,
            None => self.ask_catalog(registry, term, limit, given).await?,
        };
        found.truncate(limit);
        Ok(found)
    }

    async fn ask_service(&self, registry: &str, service: &str, term: &str, limit: usize) -> Result<Vec<Found>, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            results: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            name: String,
            description: Option<String>,
            #[serde(default)]
            star_count: u64,
            #[serde(default)]
            is_official: bool,
        }
        let wrong = || RegistryError::Name { registry: service.to_owned() };
        let base = Url::parse(service).map_err(|_| wrong())?;
        let mut url = base.join("./v1/search").map_err(|_| wrong())?;
        url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.clamp(1, 100).to_string());
        let endpoint = self.service(&base)?;
        let answer: Answer = endpoint.json("search", &url).await?.1;
        let named = |name: String| if registry == "docker.io" { name } else { format!("{registry}/{name}") };
        let found = answer.results.into_iter().map(|one| Found {
            name: printable(&named(one.name)),
            description: printable(&one.description.unwrap_or_default()),
            stars: one.star_count,
            official: one.is_official,
        });
        Ok(found.collect())
    }

    async fn ask_catalog(
        &self,
        registry: &str,
        term: &str,
        limit: usize,
        given: Option<&Given>,
    ) -> Result<Vec<Found>, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            repositories: Option<Vec<String>>,
        }
        let endpoint = self.root(registry, Access::Catalog, given)?;
        let mut found = Vec::new();
        let mut next = Some(endpoint.page("_catalog")?);
        for _ in 0..MAX_PAGES {
            let Some(url) = next.take() else { return Ok(found) };
            let (headers, answer): (_, Answer) = endpoint.json("catalog", &url).await?;
            let matching = answer.repositories.unwrap_or_default().into_iter().filter(|name| name.contains(term));
            found.extend(matching.map(|name| Found {
                name: printable(&format!("{registry}/{name}")),
                description: String::new(),
                stars: 0,
                official: false,
            }));
            if found.len() >= limit {
                return Ok(found);
            }
            next = endpoint.next_page(&url, &headers);
        }
        Err(RegistryError::Endless { registry: registry.to_owned(), what: "catalog" })
    }

    /// All tags of a repository, as the registry sorts them.
    pub(in crate::engine::images) async fn tags(
        &self,
        reference: &ImageRef,
        given: Option<&Given>,
    ) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut sources = self.sources(reference, given)?;
        // Mirrors know the tags that were asked of them; the registry knows all.
        let endpoint = sources.pop().ok_or(RegistryError::Nowhere)?;
        let mut found = Vec::new();
        let first = endpoint.url("tags", "list")?;
        let mut next = Some(first);
        for _ in 0..MAX_PAGES {
            let Some(url) = next.take() else { return Ok(found) };
            let (headers, answer): (_, Answer) = endpoint.json("list of tags", &url).await?;
            found.extend(answer.tags.unwrap_or_default().iter().map(|tag| printable(tag)));
            next = endpoint.next_page(&url, &headers);
        }
        Err(RegistryError::Endless { registry: endpoint.host, what: "list of tags" })
    }
}

/// It ends up on a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

impl Endpoint {
    fn page(&self, what: &str) -> Result<Url, RegistryError> {
        let mut url = self.root.join(what).map_err(|_| RegistryError::Name { registry: self.host.clone() })?;
        url.query_pairs_mut().append_pair("n", &PAGE.to_string());
        Ok(url)
    }

    async fn json<T: DeserializeOwned>(&self, what: &'static str, url: &Url) -> Result<(HeaderMap, T), RegistryError> {
        let build = |client: &Client| client.get(url.clone()).header(reqwest::header::ACCEPT, "application/json");
        let (headers, content) = self.document(what, build).await?;
        Ok((headers, serde_json::from_slice(&content).map_err(|_| self.unread(what))?))
    }

    pub(super) fn unread(&self, what: &'static str) -> RegistryError {
        RegistryError::Unread { registry: self.host.clone(), what }
    }

    /// Where the next page is: `<…>; rel="next"`, at this very registry only.
    pub(super) fn next_page(&self, current: &Url, headers: &HeaderMap) -> Option<Url> {
        let text = headers.get(LINK)?.to_str().ok()?;
        let link = text.split(',').find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))?;
        let target = link.split_once('<')?.1.split_once('>')?.0;
        current.join(target).ok().filter(|url| url.origin() == current.origin())
    }
}
