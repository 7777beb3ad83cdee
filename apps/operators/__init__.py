"""Who may sell mobile service, on whose network, where and until when: tenants, licences, agreements, policies."""
