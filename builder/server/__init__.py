"""The coordinator's programs: services that own machines and stores."""
