// Call a server as one client does: `run.mjs MODULE TASK…` prints a line of JSON for each task, with why it failed.
const [, , module, ...tasks] = process.argv;
const client = await import(`./${module}`);

for (const task of tasks) {
  console.log(JSON.stringify({ task, failed: await failure(client[task]) }));
}
process.exit(); // clients keep connections open

async function failure(task) {
  try {
    await task();
    return "";
  } catch (error) {
    return `${error?.name}: ${error?.message}`;
  }
}
