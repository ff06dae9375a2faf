FROM localhost/base:1
HEALTHCHECK --interval=1m30s --timeout=2s --start-period=500ms --retries=5 CMD ["/bin/check", "--all"]
