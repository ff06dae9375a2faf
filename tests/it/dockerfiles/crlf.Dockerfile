FROM localhost/base:1
# a comment
ENV A=1 \
    B=2
RUN echo "$A" > /a \
 && echo "$B" > /b
CMD ["run"]
