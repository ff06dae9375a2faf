FROM localhost/base:1 AS build
ARG JAR_FILE=target/*.jar
WORKDIR /workspace/app
COPY java/ .
RUN mkdir -p target/dependency && (cd target/dependency && for jar in ../../*.jar; do cp "$jar" .; done)

FROM localhost/base:1
VOLUME /tmp/spring
ARG DEPENDENCY=/workspace/app/target/dependency
COPY --from=build ${DEPENDENCY}/lib.jar /app/lib/
COPY --from=build ${DEPENDENCY}/*.jar /app/
ENV JAVA_OPTS=""
ENTRYPOINT exec java $JAVA_OPTS -cp app:app/lib/* hello.Application
