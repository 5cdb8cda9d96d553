"""The bundled models; any other ``nn.Module`` that is a pure function can be used as well."""
