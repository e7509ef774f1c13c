# Each exception of the generated Kotlin says its reason, as in the other languages.
s/get() = "what=${ `what` }, reason=${ `reason` }"$/get() = "${ `what` }: ${ `reason` }"/
s/get() = ".*reason=${ `reason` }"$/get() = `reason`/
