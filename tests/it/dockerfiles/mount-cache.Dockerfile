# syntax=docker/dockerfile:1
FROM localhost/base:1
RUN --mount=type=cache,target=/cache,id=peers echo kept > /cache/file && ls /cache > /one
RUN --mount=type=cache,target=/elsewhere,id=peers cat /elsewhere/file > /two
RUN --mount=type=cache,target=/var/cache/tool,sharing=locked,mode=0700,uid=5,gid=6 stat -c '%a %u %g' /var/cache/tool > /three
