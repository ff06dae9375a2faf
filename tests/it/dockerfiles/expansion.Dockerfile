#: --build-arg GIVEN=given
FROM localhost/base:1
ARG GIVEN
ARG DEFAULT=default
ARG EMPTY=
ARG NEVER
ENV A=${GIVEN:-other} B=${EMPTY:-other} C=${NEVER:-other} D=${GIVEN:+other} E=${EMPTY:+other} F=${NEVER:+other}
ENV G=$GIVEN$DEFAULT H=${GIVEN}-${DEFAULT} I=\$GIVEN J='$GIVEN' K="$GIVEN" L="\$GIVEN" M=a\ b
ENV N=${NEVER:-${GIVEN:-inner}} O=${A}/${B} P="two  spaces" Q=it\'s R='single "double"' S="double 'single'"
ENV T=$NOTHING U=${NOTHING} V=x${NOTHING}y
LABEL one=$GIVEN "two words"="value of $DEFAULT" three="${EMPTY:-filled}"
WORKDIR /work/${GIVEN}
COPY ${GIVEN:+app}/README.md ${DEFAULT}/
RUN env | grep -E '^[A-Z]=' | sort > /environment; echo "$GIVEN $DEFAULT $EMPTY $NEVER" >> /environment
