#: --allow network.host --allow security.insecure
# syntax=docker/dockerfile:1-labs
FROM localhost/base:1
RUN --network=host --security=sandbox echo one > /one
RUN --security=insecure echo two > /two
