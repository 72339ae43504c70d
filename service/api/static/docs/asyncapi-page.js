// The address does not end with a slash: the document lies beside this page.
fetch("asyncapi.json")
  .then((answer) => answer.json())
  .then((schema) =>
    AsyncApiStandalone.render(
      {
        schema,
        config: {
          show: { sidebar: true, errors: true },
          expand: { messageExamples: true },
          sidebar: { showServers: "byDefault", showOperations: "byDefault" },
        },
      },
      document.getElementById("page"),
    ),
  );
