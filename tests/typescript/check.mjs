// Lint the API's description (JSON, the first argument) by Redocly's recommended rules, a line per problem, and write
// its TypeScript types to the second argument.
import { readFile, writeFile } from "node:fs/promises";
import { createConfig, lint } from "@redocly/openapi-core";
import openapiTS, { astToString } from "openapi-typescript";

const [description, types] = process.argv.slice(2);
const config = await createConfig({ extends: ["recommended"] });
for (const problem of await lint({ ref: description, config })) {
  console.log(problem.severity, problem.ruleId, problem.location[0].pointer, problem.message.split("\n")[0]);
}
const ast = await openapiTS(JSON.parse(await readFile(description, "utf8")));
await writeFile(types, astToString(ast));
