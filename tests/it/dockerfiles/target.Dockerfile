#: --target middle
FROM localhost/base:1 AS first
RUN echo first > /first
FROM first AS middle
LABEL stage=middle
RUN echo middle > /middle
FROM middle AS last
RUN exit 3
