//! Networks, volumes, configs and secrets as manifests.

use crate::manifest::desired::Placed;
use crate::model::Name;
use crate::model::spec::{ConfigSpec, Elsewhere, NetworkSpec, SecretSpec, VolumeSpec};

use super::yaml::Yaml;
use super::{ContentOrigin, Fields, PrintError, Printer};

impl Printer<'_> {
    pub(super) fn network(&self, name: &Name, placed: &Placed<NetworkSpec>) -> Vec<(String, Yaml)> {
        let mut fields = Fields::default();
        self.placing(&mut fields, name, placed);
        if !placed.external {
            let NetworkSpec { subnet, internal, labels, gateway, ip_range, aux_addresses, ipv6, ipv6_only, driver_opts } =
                &placed.spec;
            fields.when("internal", *internal);
            if *ipv6_only {
                fields.put("enable_ipv4", Yaml::Bool(false));
            }
            fields.when("enable_ipv6", ipv6.is_some());
            let mut configs = Vec::new();
            if let Some(subnet) = subnet {
                let mut config = Fields::default();
                config.put("subnet", Yaml::text(subnet));
                config.some("gateway", *gateway);
                config.some("ip_range", *ip_range);
                config.pairs("aux_addresses", aux_addresses);
                configs.push(Yaml::Map(config.0));
            }
            if let Some((six, subnet)) = ipv6.as_ref().and_then(|six| Some((six, six.subnet?))) {
                let mut config = Fields::default();
                config.put("subnet", Yaml::text(subnet));
                config.some("gateway", six.gateway);
                config.some("ip_range", six.ip_range);
                config.pairs("aux_addresses", &six.aux_addresses);
                configs.push(Yaml::Map(config.0));
            }
            if !configs.is_empty() {
                fields.put("ipam", Yaml::Map(vec![("config".to_owned(), Yaml::List(configs))]));
            }
            fields.pairs("driver_opts", &driver_opts.pairs());
            fields.pairs("labels", labels);
        }
        fields.0
    }

    pub(super) fn volume(&self, name: &Name, placed: &Placed<VolumeSpec>) -> Vec<(String, Yaml)> {
        let mut fields = Fields::default();
        self.placing(&mut fields, name, placed);
        if !placed.external {
            fields.pairs("labels", &placed.spec.labels);
        }
        fields.0
    }

    pub(super) fn config(&self, name: &Name, config: &ConfigSpec) -> Result<Vec<(String, Yaml)>, PrintError> {
        let mut fields = Fields::default();
        if let Some(external) = &config.external {
            return Ok(of_another(external));
        }
        match self.origins.configs.get(name) {
            Some(ContentOrigin::File(path)) => fields.put("file", Yaml::text(self.path(path)?)),
            Some(ContentOrigin::Variable(variable)) => fields.put("environment", Yaml::text(variable)),
            Some(ContentOrigin::Inline | ContentOrigin::External(_)) | None => {
                let text = std::str::from_utf8(&config.content).ok().filter(|text| !text.contains('\0'));
                fields.put("content", Yaml::text(text.ok_or_else(|| PrintError::Config(name.clone()))?));
            }
        }
        Ok(fields.0)
    }

    pub(super) fn secret(&self, name: &Name, secret: &SecretSpec) -> Result<Vec<(String, Yaml)>, PrintError> {
        let mut fields = Fields::default();
        if let Some(external) = &secret.external {
            return Ok(of_another(external));
        }
        match self.origins.secrets.get(name) {
            Some(ContentOrigin::File(path)) => fields.put("file", Yaml::text(self.path(path)?)),
            Some(ContentOrigin::Variable(variable)) => fields.put("environment", Yaml::text(variable)),
            Some(ContentOrigin::Inline | ContentOrigin::External(_)) | None => return Err(PrintError::Secret(name.clone())),
        }
        Ok(fields.0)
    }
}

/// A content that another stack has.
fn of_another(external: &Elsewhere) -> Vec<(String, Yaml)> {
    vec![("external".to_owned(), Yaml::Bool(true)), ("name".to_owned(), Yaml::text(external))]
}
