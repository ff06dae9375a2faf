FROM localhost/base:1 AS one
CMD ["of", "one"]
FROM one AS two
ENTRYPOINT ["entry"]
FROM two AS three
CMD own words
FROM three
ENTRYPOINT ["/last", "entry"]
CMD []
