# Each exception of the generated Kotlin says its reason, as in the other languages.
s/get\(\) = "what=\$\{ `what` \}, reason=\$\{ `reason` \}"$/get() = "${ `what` }: ${ `reason` }"/
s/get\(\) = ".*reason=\$\{ `reason` \}"$/get() = `reason`/
# Each callback that the library's threads call attaches them as daemons, with a name. JNA wants to know it before the callback
# is passed for the first time: so when its object is made.
s/^ *internal object .*: Uniffi(CallbackInterface[A-Za-z0-9]*|RustFutureContinuationCallback) \{$/& init { org.libmusig.onDaemonThreads(this) }/
