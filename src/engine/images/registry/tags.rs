//! The tags of a repository, page by page.
//! Source: the OCI Distribution Specification, "Listing Tags".

use reqwest::header::LINK;
use serde::Deserialize;

use super::{Registry, RegistryError};

/// More than any repository has that people choose tags of; a registry that goes on for ever is not followed.
const MOST_PAGES: usize = 200;

impl Registry {
    pub(in crate::engine::images) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            // Some registries answer null for a repository without tags.
            tags: Option<Vec<String>>,
        }
        let mut url = self.url("tags", "list")?;
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let (headers, content) = self.document("list of tags", |client| client.get(url.clone())).await?;
            let page: Page = serde_json::from_slice(&content).map_err(|source| RegistryError::Tags { source })?;
            all.extend(page.tags.unwrap_or_default());
            let Some(next) = headers.get(LINK).and_then(|link| next(link.to_str().ok()?)) else { return Ok(all) };
            let next = url.join(next).map_err(|_| RegistryError::Page)?;
            // Whatever authorizes us is not for others.
            if next.origin() != url.origin() {
                return Err(RegistryError::Page);
            }
            url = next;
        }
        Err(RegistryError::Page)
    }
}

/// The target of `<target>; rel="next"`.
fn next(link: &str) -> Option<&str> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let relation = rest.split(';').find_map(|part| part.trim().strip_prefix("rel="))?;
    (relation.trim_matches('"') == "next").then_some(target)
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn links_to_the_next_page() {
        assert_eq!(next("</v2/a/tags/list?last=b&n=2>; rel=\"next\""), Some("/v2/a/tags/list?last=b&n=2"));
        assert_eq!(next("<https://x/y>; title=\"t\"; rel=next"), Some("https://x/y"));
        for none in ["", "<x>", "<x>; rel=prev", "x; rel=next"] {
            assert_eq!(next(none), None, "{none}");
        }
    }
}
