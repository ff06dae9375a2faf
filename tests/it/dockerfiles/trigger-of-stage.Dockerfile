FROM localhost/base:1 AS parent
ONBUILD RUN echo triggered > /triggered
FROM parent
RUN echo x > /x
