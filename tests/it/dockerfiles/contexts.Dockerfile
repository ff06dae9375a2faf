#: --build-context more=java --build-context other=docker-image://localhost/base:1
# syntax=docker/dockerfile:1
FROM other AS renamed
FROM localhost/base:1
COPY --from=more lib.jar /jars/
COPY --from=other /etc/group /group
COPY --from=renamed /etc/passwd /passwd
RUN --mount=type=bind,from=more,target=/more cat /more/app.jar > /app
