FROM localhost/base:1
RUN echo zero > /zero
FROM localhost/base:1 as Second
COPY --from=0 /zero /from-zero
FROM second
COPY --from=SECOND /from-zero /again
COPY --from=1 /from-zero /by-number/
