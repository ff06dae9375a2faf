FROM localhost/base:1
CMD ["first"]
ENTRYPOINT ["entry"]
RUN echo x > /x
