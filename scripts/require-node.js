// Runs on any Node, however old, before anything that needs a new one: no imports, no new syntax.
const OLDEST = [22, 18]
const [major, minor] = process.versions.node.split('.').map(Number)

if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
  process.stderr.write(
    `Shardwise needs Node ${OLDEST.join('.')} or newer, this is ${process.version}: the Node 24 that comes as a dev ` +
      'dependency is not there because npm ran without install scripts. ' +
      'Run "npm rebuild node --ignore-scripts=false", or use a newer Node.\n',
  )
  process.exitCode = 2
}
