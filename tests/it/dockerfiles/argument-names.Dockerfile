#: --build-arg FROM_OUTSIDE=outside --build-arg THIRD=given
# syntax=docker/dockerfile:1
FROM localhost/base:1
ENV WHICH=SECOND OTHER=THIRD
ARG FIRST=first
ARG ${WHICH}=second-$FIRST
ARG ${OTHER}=default
ARG FROM_OUTSIDE
RUN echo "$FIRST $SECOND $THIRD $FROM_OUTSIDE" > /said
ENV ${WHICH}_NAME=value LABELLED=label
LABEL ${LABELLED}.one=1 two.$LABELLED=2
